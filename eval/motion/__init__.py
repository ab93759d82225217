"""``protocol=motion``: a run scored on its motion alone, without rendering it, beside rows to hold it against."""
