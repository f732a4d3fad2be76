from .collator import DataCollatorForSpeech as DataCollatorForSpeech
from .options import TrainingOptions as TrainingOptions
from .recipe import Recipe as Recipe
from .recipe import find_recipe as find_recipe
from .recipe import load_recipe as load_recipe
from .recipe import load_rows as load_rows
from .run import TrainingResult as TrainingResult
from .run import train as train
