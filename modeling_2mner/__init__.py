"""2M-NER: named entities from words and images, for the `Auto` classes of `transformers`.

Importing this package registers its classes, so that the `Auto` classes load a saved folder without
`trust_remote_code=True`, and a saved folder holds the code that loads it elsewhere. A pipeline is
then built by its class:

    pipeline("multimodal-ner", model=folder, pipeline_class=MultimodalNERPipeline)
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoProcessor

from .configuration_2mner import TwoMNERConfig
from .crf_2mner import LinearChainCRF
from .modeling_2mner import TwoMNERForTokenClassification, TwoMNERModel
from .pipeline_2mner import MultimodalNERPipeline
from .processing_2mner import TwoMNERProcessor

__version__ = "0.2.0"

__all__ = [
    "LinearChainCRF",
    "MultimodalNERPipeline",
    "TwoMNERConfig",
    "TwoMNERForTokenClassification",
    "TwoMNERModel",
    "TwoMNERProcessor",
    "__version__",
]

__version__ = "0.2.0"

AutoConfig.register(TwoMNERConfig.model_type, TwoMNERConfig)
AutoModel.register(TwoMNERConfig, TwoMNERModel)
AutoModelForTokenClassification.register(TwoMNERConfig, TwoMNERForTokenClassification)
AutoProcessor.register(TwoMNERConfig, TwoMNERProcessor)

TwoMNERConfig.register_for_auto_class()
TwoMNERModel.register_for_auto_class("AutoModel")
TwoMNERForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
TwoMNERProcessor.register_for_auto_class()
