"""What verbs share that find images by place and date."""

import datetime

import click

from sar_keras.errors import DataError

Box = tuple[float, float, float, float]
_CATALOG = "planetary-computer"


def catalog_option(**more):
    return click.option(
        "--catalog",
        default=_CATALOG,
        show_default=True,
        metavar="NAME|URL",
        help="planetary-computer, earth-search, or the address of a STAC API.",
        **more,
    )


def range_of(dates: str) -> str:
    """ "FIRST/LAST", or one day, as a range of days.

    Raises:
        DataError: it is neither.
    """
    try:
        first, last = [datetime.date.fromisoformat(day.strip()) for day in (dates.split("/") * 2)[:2]]
        if dates.count("/") > 1 or first > last:
            raise ValueError
    except ValueError as error:
        raise DataError(f"--dates {dates}: must be FIRST/LAST, such as 2024-06-01/2024-08-31") from error
    return f"{first}/{last}"


def day_of(date: str) -> datetime.date:
    """
    Raises:
        DataError: it is no date.
    """
    try:
        return datetime.date.fromisoformat(date)
    except ValueError as error:
        raise DataError(f"--date {date}: must be a day such as 2024-07-14") from error
