import dataclasses

from sar_keras.config import DataConfig
from sar_keras.data.sources import Source


def test_what_needs_no_configuration_has_its_defaults():
    defaults = DataConfig()
    for field in dataclasses.fields(Source):
        assert field.default == getattr(defaults, field.name)
