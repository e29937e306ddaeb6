"""Several rasters as one: bands that come in a file each, or tiles side by side.

GDAL reads them through a VRT, an XML document that names the files: nothing is copied, and a mosaic of any size needs
the memory of its windows. https://gdal.org/en/stable/drivers/raster/vrt.html
"""

import dataclasses
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import Affine
from rasterio.windows import Window

from sar_keras.errors import DataError
from sar_keras.io import images

_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
_ROUNDING = 0.1  # of a pixel
# A raster with the column and the row of a virtual one at which its upper left corner lies.
Placed = tuple[rasterio.DatasetReader, int, int]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie, and what they hold."""

    shape: tuple[int, int]
    crs: CRS | None
    transform: Affine
    kinds: tuple  # types, descriptions, units, scales ... of the bands

    @classmethod
    def of(cls, raster: rasterio.DatasetReader) -> "Grid":
        kinds = raster.dtypes, raster.descriptions, raster.units, raster.colorinterp, raster.scales, raster.offsets
        return cls(raster.shape, raster.crs, raster.transform, kinds)

    @property
    def is_placed(self) -> bool:
        """Whether it lies on a map, and not in the geometry of the radar."""
        return not self.transform.is_identity

    def offset_from(self, other: "Grid") -> tuple[int, int] | None:
        """(columns, rows) from the first pixel of another grid to that of this one; None if they do not fit."""
        steps, other_steps = np.array([[[t.a, t.b], [t.d, t.e]] for t in (self.transform, other.transform)])
        # Writers round: over the whole raster the steps may add up to a tenth of a pixel.
        drift = np.abs(steps - other_steps).max() * max(*self.shape, *other.shape)
        if self.crs != other.crs or drift > _ROUNDING * np.abs(other_steps).max():
            return None
        apart = np.subtract((self.transform.c, self.transform.f), (other.transform.c, other.transform.f))
        offset = np.linalg.solve(other_steps, apart)
        column, row = np.rint(offset).astype(int).tolist()
        return (column, row) if np.abs(offset - (column, row)).max() <= _ROUNDING else None


def stack(name: str, rasters: Sequence[rasterio.DatasetReader], descriptions: Sequence[str]) -> str:
    """The VRT whose bands are the first ones of some rasters.

    Raises:
        DataError: they are not on one grid, or complex.
    """
    first = rasters[0]
    for raster, description in zip(rasters[1:], descriptions[1:], strict=True):
        if raster.shape != first.shape or Grid.of(raster).offset_from(Grid.of(first)) != (0, 0):
            raise DataError(f"{name}: its bands {descriptions[0]} and {description} are not on one grid")
    document = _document(name, first, first.width, first.height, first.transform)
    bands = zip(rasters, descriptions, strict=True)
    _add_bands(document, [([(raster, 0, 0)], 1, description) for raster, description in bands])
    return ElementTree.tostring(document, "unicode")


def mosaic(name: str, rasters: Sequence[rasterio.DatasetReader], names: Sequence[str]) -> str:
    """The VRT of tiles on one grid; of what overlaps the last one is on top. What none covers is masked.

    Raises:
        DataError: they are not on one grid of a map, differ in their bands, or are complex.
    """
    first, offsets = Grid.of(rasters[0]), []
    for raster, other in zip(rasters, names, strict=True):
        grid = Grid.of(raster)
        if not grid.is_placed:
            raise DataError(f"{other}: lies on no map (no georeference, or radar geometry), and is no tile of a mosaic")
        offset = grid.offset_from(first)
        if offset is None:
            raise DataError(
                f"{names[0]} and {other} are not on one grid (coordinate system, pixel size, origin), and are no "
                "mosaic; bring them there with gdalwarp"
            )
        if grid.kinds != first.kinds:
            raise DataError(f"{names[0]} and {other} differ in their bands, and are no mosaic")
        offsets.append(offset)
    left, top = np.min(offsets, axis=0).tolist()
    ends = np.add(offsets, [(raster.width, raster.height) for raster in rasters])
    width, height = (ends.max(axis=0) - (left, top)).tolist()
    transform = rasters[0].window_transform(Window(left, top, width, height))
    document = _document(name, rasters[0], width, height, transform)
    placed = [(raster, column - left, row - top) for raster, (column, row) in zip(rasters, offsets, strict=True)]
    _add_bands(document, [(placed, band, rasters[0].descriptions[band - 1]) for band in rasters[0].indexes])
    return ElementTree.tostring(document, "unicode")


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
        unmasked = [set(raster.mask_flag_enums[band - 1]) == {MaskFlags.all_valid} for raster, _, _ in placed]
        # Not-a-number does not hide the tile below, either, but stays where nothing else is: over the tiles as they are
        # go the same ones with zeros in its place.
        twice = any(unmasked) and len(placed) > 1 and np.issubdtype(first.dtypes[band - 1], np.floating)
        for without_nan in (False, True)[: 1 + twice]:
            for (raster, column, row), is_unmasked in zip(placed, unmasked, strict=True):
                if without_nan and is_unmasked:
                    source = _add_source(element, raster, "1", column, row, _without_nan(raster, band))
                else:
                    source = _add_source(element, raster, str(band), column, row)
                if declared:
                    _add(source, "NODATA", str(raster.nodatavals[band - 1]))
                elif is_unmasked:
                    # Zeros beside a footprint do not hide the tile below, though no tag calls them nodata.
                    _add(source, "NODATA", "0")
                else:
                    _add(source, "UseMaskBand", "true")
    if not declared:
        element = _add(_add(document, "MaskBand"), "VRTRasterBand", dataType="Byte")
        for raster, column, row in bands[0][0]:
            _add(_add_source(element, raster, f"mask,{bands[0][1]}", column, row), "NODATA", "0")


def _without_nan(raster, band: int) -> str:
    """The VRT of a band in which zero stands for not-a-number."""
    document = ElementTree.Element("VRTDataset", rasterXSize=str(raster.width), rasterYSize=str(raster.height))
    element = _add(document, "VRTRasterBand", dataType=_TYPES[raster.dtypes[band - 1]], band="1")
    _add(_add_source(element, raster, str(band), 0, 0), "NODATA", "nan")
    return ElementTree.tostring(document, "unicode")


def _add_source(element, raster, band: str, column: int, row: int, name: str | None = None) -> ElementTree.Element:
    source = _add(element, "ComplexSource")
    _add(source, "SourceFilename", name or raster.name, relativeToVRT="0")
    _add(source, "SourceBand", band)
    size = {"xSize": str(raster.width), "ySize": str(raster.height)}
    _add(source, "SrcRect", xOff="0", yOff="0", **size)
    _add(source, "DstRect", xOff=str(column), yOff=str(row), **size)
    return source


def _add(parent, tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, attributes)
    element.text = text
    return element
