# rasterio's own defaults of None say nothing of what is inside.
class GroundControlPoint:
    row: float
    col: float
    x: float
    y: float
    z: float | None
    id: str | None
    info: str | None
    def __init__(
        self,
        row: float | None = None,
        col: float | None = None,
        x: float | None = None,
        y: float | None = None,
        z: float | None = None,
        id: str | None = None,
        info: str | None = None,
    ) -> None: ...
