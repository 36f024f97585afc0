"""DualBench: the paper's benchmark (section 4) as functions on features, sounds and pictures.

In reading order: features of a judge's network, from its front end to FD, FAD, IS and KL; sync; words; two stems;
levels. Then what uses them: sets, systems, a run with its judges, the report, a comparison of two, one soundtrack by
itself. Networks are read from files that the caller names; nothing is downloaded.
"""

from .av_align import Alignment, Moments, moments, read_pictures, summarise
from .beats import Beats, BeatsConfig, load_beats
from .bench import Results, read_results, run, standard_judges
from .casp import Casp, CaspConfig, StemEmbeddings, embed_stems, load_casp
from .cnn14 import Cnn14, Cnn14Config, Heard, load_cnn14
from .compare import Comparison, Difference, compare
from .divergence import Divergence, kl_divergence, kl_divergence_by_name
from .dualscore import Retrieval, contrastive_loss, paired_cosines, retrieval
from .figures import Figure
from .frechet import frechet_distance
from .frontends import beats_fbank, judged_waveform, panns_log_mel, vggish_patches
from .inception import InceptionScore, inception_score
from .intervals import Estimate
from .judge_classes import PannsJudge, VggishJudge
from .judge_harmony import HarmonyJudge
from .judge_levels import LevelsJudge
from .judge_speech import OpinionJudge, VoiceJudge, WordsJudge
from .judge_sync import SyncJudge
from .judges import Facts, Judge, Subject
from .leak import joint_loudness, leaked_share
from .levels import Levels, levels, loudest_frame_dbfs, rms_dbfs
from .report import write_report
from .scoring import Judges, Score, score_soundtrack
from .speakers import SpeakerJudge, load_speaker_judge
from .systems import BenchSystem, Generated, GroundTruth, Recorded
from .testset import BenchClip, BenchSet, read_set
from .transcripts import Recogniser, load_recogniser
from .utmos import Utmos, UtmosConfig, load_utmos
from .vggish import VGGish, VGGishConfig, load_vggish
from .words import WordErrors, normalise, word_errors

__all__ = [
    "Alignment",
    "Beats",
    "BeatsConfig",
    "BenchClip",
    "BenchSet",
    "BenchSystem",
    "Casp",
    "CaspConfig",
    "Cnn14",
    "Cnn14Config",
    "Comparison",
    "Difference",
    "Divergence",
    "Estimate",
    "Facts",
    "Figure",
    "Generated",
    "GroundTruth",
    "HarmonyJudge",
    "Heard",
    "InceptionScore",
    "Judge",
    "Judges",
    "Levels",
    "LevelsJudge",
    "Moments",
    "OpinionJudge",
    "PannsJudge",
    "Recogniser",
    "Recorded",
    "Results",
    "Retrieval",
    "Score",
    "SpeakerJudge",
    "StemEmbeddings",
    "Subject",
    "SyncJudge",
    "Utmos",
    "UtmosConfig",
    "VGGish",
    "VGGishConfig",
    "VggishJudge",
    "VoiceJudge",
    "WordErrors",
    "WordsJudge",
    "beats_fbank",
    "compare",
    "contrastive_loss",
    "embed_stems",
    "frechet_distance",
    "inception_score",
    "joint_loudness",
    "judged_waveform",
    "kl_divergence",
    "kl_divergence_by_name",
    "leaked_share",
    "levels",
    "load_beats",
    "load_casp",
    "load_cnn14",
    "load_recogniser",
    "load_speaker_judge",
    "load_utmos",
    "load_vggish",
    "loudest_frame_dbfs",
    "moments",
    "normalise",
    "paired_cosines",
    "panns_log_mel",
    "read_pictures",
    "read_results",
    "read_set",
    "retrieval",
    "rms_dbfs",
    "run",
    "score_soundtrack",
    "standard_judges",
    "summarise",
    "vggish_patches",
    "word_errors",
    "write_report",
]
