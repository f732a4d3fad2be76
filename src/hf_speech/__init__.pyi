from .data import read_audio as read_audio
from .errors import AudioError as AudioError
from .errors import CorpusError as CorpusError
from .errors import HFSpeechError as HFSpeechError
from .errors import ModelError as ModelError
from .errors import PublishError as PublishError
from .errors import RecipeError as RecipeError
from .evaluation import evaluate_model as evaluate_model
from .inference import load_model as load_model
from .models import ConvGRUConfig as ConvGRUConfig
from .models import ConvGRUEncoder as ConvGRUEncoder
from .models import ConvGRUForCTC as ConvGRUForCTC
from .models import ConvGRUForKeywordSpotting as ConvGRUForKeywordSpotting
from .models import SpeechFeatureExtractor as SpeechFeatureExtractor
from .models import SpeechLSTMConfig as SpeechLSTMConfig
from .models import SpeechLSTMEncoder as SpeechLSTMEncoder
from .models import SpeechLSTMForAudioClassification as SpeechLSTMForAudioClassification
from .models import SpeechProcessor as SpeechProcessor
from .training import DataCollatorForSpeech as DataCollatorForSpeech
from .training import load_recipe as load_recipe
from .training import train as train

__version__: str
