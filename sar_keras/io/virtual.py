"""Several rasters as one: bands that come in a file each, or tiles side by side.

GDAL reads them through a VRT, an XML document that names the files: nothing is copied, and a mosaic of any size needs
the memory of its windows. https://gdal.org/en/stable/drivers/raster/vrt.html
"""

from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.windows
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import Affine
from rasterio.windows import Window

from sar_keras.errors import DataError
from sar_keras.io import images

_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "float32": "Float32", "float64": "Float64",
}  # fmt: skip
_ROUNDING = 0.1  # of a pixel
# A raster with the column and the row of a virtual one at which its upper left corner lies.
Placed = tuple[rasterio.DatasetReader, int, int]


def stack(name: str, rasters: Sequence[rasterio.DatasetReader], descriptions: Sequence[str]) -> str:
    """The VRT whose bands are the first ones of some rasters.

    Raises:
        DataError: they are not on one grid, or complex.
    """
    first = rasters[0]
    for raster, description in zip(rasters[1:], descriptions[1:], strict=True):
        apart = _apart(raster, first)
        if raster.shape != first.shape or apart is None or np.any(apart):
            raise DataError(f"{name}: its bands {descriptions[0]} and {description} are not on one grid")
    document = _document(name, first, first.width, first.height, first.transform)
    bands = [(raster, 1, description) for raster, description in zip(rasters, descriptions, strict=True)]
    _add_bands(document, [([(raster, 0, 0)], band, description) for raster, band, description in bands])
    return ElementTree.tostring(document, "unicode")


def mosaic(name: str, rasters: Sequence[rasterio.DatasetReader], names: Sequence[str]) -> str:
    """The VRT of tiles on one grid; of what overlaps the last one is on top. What none covers is masked.

    Raises:
        DataError: they are not on one grid, or differ in their bands.
    """
    first = rasters[0]
    offsets = [(0, 0)]
    for raster, other in zip(rasters[1:], names[1:], strict=True):
        if _kinds(raster) != _kinds(first):
            raise DataError(f"{name}: {names[0]} and {other} differ in their bands, and are no mosaic")
        offset = offset_on_grid(raster, first)
        if offset is None:
            raise DataError(
                f"{name}: {names[0]} and {other} are not on one grid (coordinate system, pixel size, origin); bring "
                "them there with gdalwarp"
            )
        offsets.append(offset)
    left, top = np.min(offsets, axis=0).tolist()
    sizes = [(raster.width, raster.height) for raster in rasters]
    width, height = (np.max(np.add(offsets, sizes), axis=0) - (left, top)).tolist()
    transform = rasterio.windows.transform(Window(left, top, width, height), first.transform)
    document = _document(name, first, width, height, transform)
    placed = [(raster, column - left, row - top) for raster, (column, row) in zip(rasters, offsets, strict=True)]
    _add_bands(document, [(placed, band, first.descriptions[band - 1]) for band in first.indexes])
    return ElementTree.tostring(document, "unicode")


def offset_on_grid(raster: rasterio.DatasetReader, other: rasterio.DatasetReader) -> tuple[int, int] | None:
    """How many columns and rows a raster lies from another one of the same grid; None where the grids differ."""
    if raster.gcps[0] or other.gcps[0] or raster.transform.is_identity or other.transform.is_identity:
        return None  # nobody knows where they lie
    apart = _apart(raster, other)
    return None if apart is None else (int(apart[0]), int(apart[1]))


def _apart(raster, other) -> np.ndarray | None:
    """(columns, rows) from the origin of `other` to that of `raster`, whole pixels, or None."""
    here, there = raster.transform, other.transform
    steps, other_steps = np.array([[[t.a, t.b], [t.d, t.e]] for t in (here, there)])
    # Writers round: over the whole raster the steps may add up to a tenth of a pixel.
    drift = np.abs(steps - other_steps).max() * max(*raster.shape, *other.shape)
    if raster.crs != other.crs or drift > _ROUNDING * np.abs(other_steps).max():
        return None
    offset = np.linalg.solve(other_steps, [here.c - there.c, here.f - there.f])
    whole = np.rint(offset)
    return whole if np.abs(offset - whole).max() <= _ROUNDING else None


def _kinds(raster) -> tuple:
    return raster.dtypes, raster.descriptions, raster.colorinterp, raster.scales, raster.offsets


def _document(name: str, like, width: int, height: int, transform: Affine) -> ElementTree.Element:
    images.refuse_complex(name, like.dtypes)
    document = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if like.crs:
        _add(document, "SRS", like.crs.to_wkt())
    if not transform.is_identity:
        _add(document, "GeoTransform", ", ".join(map(repr, transform.to_gdal())))
    points, crs = like.gcps
    if points:
        listed = _add(document, "GCPList", Projection=crs.to_wkt() if crs else "")
        for point in points:
            place = {"Pixel": point.col, "Line": point.row, "X": point.x, "Y": point.y, "Z": point.z or 0.0}
            _add(listed, "GCP", Id=point.id, **{key: repr(float(value)) for key, value in place.items()})
    tags = _add(document, "Metadata")
    for key, value in like.tags().items():
        _add(tags, "MDI", value, key=key)
    return document


def _add_bands(document, bands: list[tuple[list[Placed], int, str | None]]) -> None:
    """Add bands: of which rasters, and of them which band, and its description."""
    # Where all files say by one value what is nodata, so does the VRT; masks, several values or none become one mask.
    values = [{str(raster.nodatavals[band - 1]) for raster, _, _ in placed} for placed, band, _ in bands]
    flags = [set(raster.mask_flag_enums[band - 1]) for placed, band, _ in bands for raster, _, _ in placed]
    declared = all(len(value) == 1 for value in values) and all(flag == {MaskFlags.nodata} for flag in flags)
    for number, (placed, band, description) in enumerate(bands, start=1):
        first = placed[0][0]
        images.refuse_complex(first.name, first.dtypes)
        element = _add(document, "VRTRasterBand", dataType=_TYPES[first.dtypes[band - 1]], band=str(number))
        if description:
            _add(element, "Description", description)
        if declared:
            _add(element, "NoDataValue", values[number - 1].pop())
        _add(element, "Offset", repr(first.offsets[band - 1]))
        _add(element, "Scale", repr(first.scales[band - 1]))
        if first.colorinterp[band - 1] == ColorInterp.alpha:
            _add(element, "ColorInterp", "Alpha")
        for raster, column, row in placed:
            source = _add_source(element, raster, str(band), column, row)
            if declared:
                _add(source, "NODATA", str(raster.nodatavals[band - 1]))
            elif set(raster.mask_flag_enums[band - 1]) != {MaskFlags.all_valid}:
                _add(source, "UseMaskBand", "true")
            else:
                # Zeros beside a footprint do not hide the tile below, though no tag calls them nodata.
                _add(source, "NODATA", "0")
    if not declared:
        element = _add(_add(document, "MaskBand"), "VRTRasterBand", dataType="Byte")
        for raster, column, row in bands[0][0]:
            _add(_add_source(element, raster, f"mask,{bands[0][1]}", column, row), "NODATA", "0")


def _add_source(element, raster, band: str, column: int, row: int) -> ElementTree.Element:
    source = _add(element, "ComplexSource")
    _add(source, "SourceFilename", raster.name, relativeToVRT="0")
    _add(source, "SourceBand", band)
    size = {"xSize": str(raster.width), "ySize": str(raster.height)}
    _add(source, "SrcRect", xOff="0", yOff="0", **size)
    _add(source, "DstRect", xOff=str(column), yOff=str(row), **size)
    return source


def _add(parent, tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, attributes)
    element.text = text
    return element
