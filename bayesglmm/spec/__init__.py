"""Model files: declarative TOML, read without running anything."""

from bayesglmm.spec.load import ModelInfo, list_models, load_model, read_spec
from bayesglmm.spec.numbers import Check, check_numbers
from bayesglmm.spec.shipped import models_folder

__all__ = ["Check", "ModelInfo", "check_numbers", "list_models", "load_model", "models_folder", "read_spec"]
