import pytest

import sar_keras


@pytest.fixture(scope="session")
def model(model_file):
    return sar_keras.load_model(model_file)
