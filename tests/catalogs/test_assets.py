from pathlib import Path

import pytest
from planetary_computer.sas import TOKEN_CACHE
from planetary_computer.settings import Settings

from sar_keras.catalogs.assets import signed
from sar_keras.errors import DataError

BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/32/T/QQ/B04.tif"


@pytest.fixture
def signatures(catalog, monkeypatch):
    """A server that signs, in place of Planetary Computer's."""
    monkeypatch.setenv("PC_SDK_SAS_URL", f"{catalog.address}/sas")
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "")
    Settings.get.cache_clear()
    TOKEN_CACHE.clear()
    yield catalog
    Settings.get.cache_clear()
    TOKEN_CACHE.clear()


def test_files_of_planetary_computer_are_signed_and_no_others(signatures):
    assert signed(BLOB) == f"{BLOB}?sig=sentinel2l2a01-sentinel2-l2"
    for other in ("https://sentinel-cogs.s3.us-west-2.amazonaws.com/B04.tif", "s3://bucket/B04.tif", Path("B04.tif")):
        assert signed(other) == other


def test_a_signature_that_is_refused_is_one_line(signatures):
    signatures.faults["/sas"] = "404"
    with pytest.raises(DataError, match="Planetary Computer gives no signature: 404"):
        signed(BLOB)
