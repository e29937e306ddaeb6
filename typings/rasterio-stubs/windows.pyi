# rasterio makes `Window` with attrs from fields without annotations, so that type checkers see no arguments. It may
# have fractions of pixels, ours have none.
class Window:
    col_off: int
    row_off: int
    width: int
    height: int
    def __init__(self, col_off: int, row_off: int, width: int, height: int) -> None: ...
    def flatten(self) -> tuple[int, int, int, int]: ...
    def intersection(self, other: Window) -> Window: ...
