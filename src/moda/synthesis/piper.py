"""Speech with exact phone times, from a packaged voice.

The voice is a VITS network (Kim et al. 2021, arXiv:2106.06103) exported by Piper. Its duration
predictor decides how many frames each input symbol lasts; that tensor is made an output of the
graph, so the timing is exact and needs no aligner. Its two sources of noise become inputs, so the
sound is a function of the seed.
"""

from pathlib import Path

import numpy as np
import soxr

from moda.audio.encoder import SAMPLE_RATE
from moda.errors import UserError
from moda.files import read_json
from moda.synthesis.lexicon import SILENCE, Phoneme, pronounce, words_of
from moda.synthesis.voice import Phone, Speech
from moda.weights import find

_HOP = 256  # samples, at the voice's own rate, of one frame of its decoder
_MAX_FRAMES = 2048  # of one sentence: 24 s
_PRIOR_CHANNELS = 192
_PAD, _BEGIN, _END = "_", "^", "$"

# tensors of the exported graph
_DURATIONS = "/Ceil_output_0"  # (1, 1, symbols): how many frames each symbol lasts
_DURATION_NOISE = "/dp/RandomNormalLike_output_0"  # (1, 2, symbols)
_PRIOR_NOISE_USED = "/RandomNormalLike_output_0"  # (1, _PRIOR_CHANNELS, frames)
_PRIOR_NOISE = "prior_noise"  # our input, (1, _PRIOR_CHANNELS, _MAX_FRAMES)


class PiperVoice:
    """Reads English sentences aloud: one onnxruntime session on one thread."""

    def __init__(self) -> None:
        """Load the registered voice; UserError when it or what runs it is not installed."""
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                'the packaged voice needs onnxruntime; install it with: pip install "moda[demo]"'
            ) from error
        config = read_json(find("piper_joe_config"))
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]
        self._rate: int = config["audio"]["sample_rate"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            _instrumented(find("piper_joe")), options, providers=["CPUExecutionProvider"]
        )

    def speak(
        self, sentence: str, *, seed: int, length_scale: float = 1.0, pitch: float = 1.0,
        noise_scale: float = 0.667, noise_width: float = 0.8,
    ) -> Speech:  # fmt: skip
        """Say one sentence.

        length_scale: duration relative to the voice's own. pitch: factor on pitch and formants, made
        by resampling; the duration stays about the same (the network rounds each symbol up to whole
        frames, so a higher voice is up to a tenth faster). noise_scale, noise_width: of the sound
        and of the rhythm, as in VITS. The same arguments give the same samples.
        """
        phonemes = [phoneme for word in words_of(sentence) for phoneme in pronounce(word)]
        if not phonemes:
            raise UserError(f"there is nothing to say in {sentence!r}")
        symbols, owners = self._symbols(sentence)
        rng = np.random.default_rng(seed)
        waveform, frames = self._session.run(
            ["output", _DURATIONS],
            {
                "input": np.array([symbols], np.int64),
                "input_lengths": np.array([len(symbols)], np.int64),
                "scales": np.array([noise_scale, length_scale * pitch, noise_width], np.float32),
                _DURATION_NOISE: rng.standard_normal((1, 2, len(symbols)), np.float32),
                _PRIOR_NOISE: rng.standard_normal((1, _PRIOR_CHANNELS, _MAX_FRAMES), np.float32),
            },
        )
        rate = self._rate * pitch  # played at this rate, the sound is higher by ``pitch``
        sound = soxr.resample(np.asarray(waveform).ravel(), rate, SAMPLE_RATE).astype(np.float32)
        ends = np.cumsum(np.asarray(frames).ravel()) * _HOP / rate  # (symbols,) seconds
        return Speech(sound, _phones(phonemes, owners, ends, len(sound) / SAMPLE_RATE))

    def _symbols(self, sentence: str) -> tuple[list[int], list[int | None]]:
        """Input ids of a sentence, and for each id the index of its phone (None: pads, gaps, marks)."""
        spoken: list[tuple[str, int | None]] = [(_BEGIN, None)]
        index = 0
        for position, word in enumerate(words_of(sentence)):
            if position:
                spoken.append((" ", None))
            for phoneme in pronounce(word):
                spoken += [(symbol, index) for symbol in ("ˈ" if phoneme.stressed else "") + phoneme.ipa]
                index += 1
        spoken += [("?" if sentence.rstrip().endswith("?") else ".", None), (_END, None)]
        ids: list[int] = []
        owners: list[int | None] = []
        for symbol, owner in spoken:  # Piper puts a pad after every symbol but the last
            ids += [*self._ids[symbol], *self._ids[_PAD]]
            owners += [owner, None]
        return ids[:-1], owners[:-1]


def _phones(phonemes: list[Phoneme], owners: list[int | None], ends: np.ndarray, seconds: float) -> tuple[Phone, ...]:
    """Times of the phones from the times at which the symbols end.

    A phone ends where its last symbol ends; pads and word gaps belong to the phone that follows.
    Measured against forced alignment this has no bias (median 2 ms, median deviation 14 ms);
    giving them to the phone before, or half to each, is 35 or 19 ms late.
    """
    last = {owner: index for index, owner in enumerate(owners) if owner is not None}
    onset = owners.index(0)
    phones = [Phone(SILENCE, 0.0, float(ends[onset - 1]))]
    for index, phoneme in enumerate(phonemes):
        phones.append(Phone(phoneme.name, phones[-1].end, float(ends[last[index]]), phoneme.stressed))
    return (*phones, Phone(SILENCE, phones[-1].end, seconds))


def _instrumented(path: Path) -> bytes:
    """The network as a graph that takes its noise as inputs and gives its durations as an output."""
    try:
        import onnx
    except ImportError as error:
        raise UserError('the packaged voice needs onnx; install it with: pip install "moda[demo]"') from error
    model = onnx.load(str(path))
    graph = model.graph
    nodes = []
    for node in graph.node:
        if node.op_type != "RandomNormalLike":
            nodes.append(node)
        elif node.output[0] == _PRIOR_NOISE_USED:  # its length follows from the durations: cut what was given
            nodes.append(onnx.helper.make_node("Shape", [node.input[0]], ["prior_shape"]))
            nodes.append(onnx.helper.make_node("Slice", [_PRIOR_NOISE, "prior_start", "prior_shape"], [node.output[0]]))
    real = onnx.TensorProto.FLOAT
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(onnx.helper.make_tensor("prior_start", onnx.TensorProto.INT64, [3], [0, 0, 0]))
    graph.input.append(onnx.helper.make_tensor_value_info(_DURATION_NOISE, real, [1, 2, None]))
    graph.input.append(onnx.helper.make_tensor_value_info(_PRIOR_NOISE, real, [1, _PRIOR_CHANNELS, None]))
    graph.output.append(onnx.helper.make_tensor_value_info(_DURATIONS, real, [1, 1, None]))
    return model.SerializeToString()
