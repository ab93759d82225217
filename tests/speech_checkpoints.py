"""Speech checkpoints of the real formats, tiny and randomly initialised."""

import json
from pathlib import Path

import torch

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 6,
}  # fmt: skip
# name -> (configuration, model, whether the large models' norms: local in the convolutions, before each layer)
KINDS = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model", False),
    "wav2vec2_large": ("Wav2Vec2Config", "Wav2Vec2Model", True),
    "wav2vec2_ctc": ("Wav2Vec2Config", "Wav2Vec2ForCTC", False),
    "hubert": ("HubertConfig", "HubertModel", False),
    "hubert_large": ("HubertConfig", "HubertModel", True),
    "wavlm": ("WavLMConfig", "WavLMModel", False),
}


def write_checkpoint(folder: Path, kind: str = "hubert", *, normalize: bool | None = True, seed: int = 0) -> Path:
    """A checkpoint of ``kind`` at ``folder``; ``normalize`` None leaves out the preprocessor's file."""
    import transformers

    config, model, large = KINDS[kind]
    norms = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True} if large else {}
    torch.manual_seed(seed)
    network = getattr(transformers, model)(getattr(transformers, config)(**SIZES, **norms))
    with torch.no_grad():
        for parameter in network.parameters():  # as they start, the norms of a checkpoint change nothing
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    if normalize is not None:
        settings = {"do_normalize": normalize, "sampling_rate": 16000, "feature_size": 1, "padding_value": 0.0}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
