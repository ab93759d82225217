"""What is read off one video: features, faces, sync and the networks that see them."""
