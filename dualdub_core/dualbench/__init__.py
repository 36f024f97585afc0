"""DualBench: the paper's benchmark (section 4) as functions on features, sounds and pictures.

In reading order: features of a judge's network, from its front end to FD, FAD, IS and KL; sync; words; two stems;
levels. Networks are read from files that the caller names; nothing is downloaded.
"""

from .av_align import Alignment, Moments, moments, read_pictures, summarise
from .cnn14 import Cnn14, Cnn14Config, Heard, load_cnn14
from .divergence import Divergence, kl_divergence, kl_divergence_by_name
from .dualscore import Retrieval, contrastive_loss, paired_cosines, retrieval
from .frechet import frechet_distance
from .frontends import beats_fbank, judged_waveform, panns_log_mel, vggish_patches
from .inception import InceptionScore, inception_score
from .levels import Levels, levels, loudest_frame_dbfs, rms_dbfs
from .speakers import SpeakerJudge, load_speaker_judge
from .transcripts import Recogniser, load_recogniser
from .vggish import VGGish, VGGishConfig, load_vggish
from .words import WordErrors, normalise, word_errors

__all__ = [
    "Alignment",
    "Cnn14",
    "Cnn14Config",
    "Divergence",
    "Heard",
    "InceptionScore",
    "Levels",
    "Moments",
    "Recogniser",
    "Retrieval",
    "SpeakerJudge",
    "VGGish",
    "VGGishConfig",
    "WordErrors",
    "beats_fbank",
    "contrastive_loss",
    "frechet_distance",
    "inception_score",
    "judged_waveform",
    "kl_divergence",
    "kl_divergence_by_name",
    "levels",
    "load_cnn14",
    "load_recogniser",
    "load_speaker_judge",
    "load_vggish",
    "loudest_frame_dbfs",
    "moments",
    "normalise",
    "paired_cosines",
    "panns_log_mel",
    "read_pictures",
    "retrieval",
    "rms_dbfs",
    "summarise",
    "vggish_patches",
    "word_errors",
]
