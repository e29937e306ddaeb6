"""The web page of `sar-keras app`: a SAR image in, colours out. It needs Gradio, the extra `app`."""

import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sar_keras.app import uploads
from sar_keras.data.synthetic import TERRAINS, synthesize_scene
from sar_keras.errors import ConfigError, SarKerasError, parameter, parameters_called
from sar_keras.inference.engines import network_of
from sar_keras.inference.network import Network
from sar_keras.io.images import write_image
from sar_keras.io.sar import UNITS

# Bytes of an upload.
MOST_BYTES = 2 * 2**30
_TITLE = "Colours for SAR images"
_WARNING = (
    "**The colours are guessed.** A neural network draws what the ground may look like. Radar does not measure colour, "
    "so nothing here is a measurement of it."
)
# No web fonts.
_FONTS: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
_CALLED = {
    "band": "Band",
    "units": "Units",
    "limits": "Range",
    "palette": "Colour of the place",
    "basemap": "Coarse image",
    "reference": "Image of another date",
    "reference_sar": "SAR image of that date",
    "clouds": "Where clouds are",
    "detail": "SAR detail",
}
_EXAMPLES = Path(__file__).parent / "examples"


@dataclasses.dataclass
class Session:
    """What the page knows of one person.

    Attributes:
        folder: Where this person's files are.
        asked, stopped: When the person has asked for colours, and stopped what was asked for, on `time.monotonic`.
        key: What the result was asked for with.
        guess: How the scene is read that was uploaded, or None.
        result: What is shown.
        second: Of the second model.
    """

    folder: Path
    asked: float = 0.0
    stopped: float = 0.0
    key: tuple = ()
    guess: uploads.Guess | None = None
    result: uploads.Result | None = None
    second: uploads.Result | None = None


def serve(
    model: Network, name: str, host: str = "127.0.0.1", port: int | None = None, root_path: str | None = None
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        model: The model that colours.
        name: What people call it on the command line.
        host: The address to listen at. Others than this machine reach the page where it is not a loopback address.
        port: The port; None: the first free one from 7860 on.
        root_path: The path below which a proxy serves the page, such as "/sar".

    Raises:
        ConfigError: the port is taken.
    """
    folder = tempfile.mkdtemp(prefix="sar_keras_app_")
    # Gradio looks at both when it is imported.
    os.environ |= {"GRADIO_TEMP_DIR": os.path.join(folder, "gradio"), "GRADIO_ANALYTICS_ENABLED": "False"}
    try:
        from gradio.themes import Default

        # A proxy serves others, too.
        is_local = host in ("127.0.0.1", "localhost", "::1") and not root_path
        page = build(model, name, Path(folder), is_local)
        with parameters_called(_CALLED | {"port": parameter("port"), "host": parameter("host")}):
            try:
                page.launch(
                    server_name=host,
                    server_port=port,
                    root_path=root_path,
                    max_file_size=MOST_BYTES,
                    theme=Default(**_FONTS),
                    css=_CSS,
                    footer_links=[],
                    share=False,
                    quiet=True,
                    ssr_mode=False,
                    prevent_thread_lock=True,
                )
            except OSError as error:
                raise ConfigError(
                    f"{host}, port {port or '7860 to 7959'}: is in use, or no address of this machine; give another by "
                    f"{parameter('port')} or {parameter('host')}"
                ) from error
            print(f"{page.local_url}  (Ctrl-C ends it)", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            page.close(verbose=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_CSS = """
footer {display: none !important}
.figures table {width: 100%}
"""


def build(model: Network, name: str, folder: Path, with_paths: bool):
    """The page as `gradio.Blocks`.

    Args:
        model, name: As for `serve`.
        folder: Where files are written.
        with_paths: Whether a person may name a second model by its path on this machine.
    """
    import gradio as gr

    examples = _examples(folder / "examples")
    is_guided, bar = model.takes_hint, gr.Progress()

    def named(text: str) -> str:
        """A message that names files as the person does, without the folders of this machine."""
        return re.sub(rf"{re.escape(str(folder))}/(?:[^/\s]+/)*", "", text)

    @contextlib.contextmanager
    def told_to_people() -> Iterator[None]:
        """Show an error that a person can mend on the page, as a sentence."""
        try:
            yield
        except SarKerasError as error:
            title = "Stopped" if isinstance(error, uploads.Cancelled) else "Error"
            raise gr.Error(named(str(error)), duration=None, title=title, print_exception=False) from error

    def new_session() -> Session:
        return Session(Path(tempfile.mkdtemp(dir=folder)))

    def end_session(session: Session | None) -> None:
        if session:
            session.stopped = time.monotonic()
            shutil.rmtree(session.folder, ignore_errors=True)

    def arm(session: Session):
        """From now on there is something to stop, also while it waits for others."""
        session.asked = time.monotonic()
        return gr.update(interactive=True)

    def cancel(session: Session) -> None:
        session.stopped = time.monotonic()

    def look(session: Session, file: str | None):
        """Show the controls that matter for this file, and no longer what belongs to another."""
        session.guess = None
        is_scene = False
        if file:
            with told_to_people():
                uploads.check_upload(Path(file))
                scene = uploads.scene_of(model, Path(file))
            is_scene = scene is not None
            # Where it cannot be guessed, the colorizing says why; then the controls are there to tell it.
            with contextlib.suppress(SarKerasError):
                session.guess = scene and uploads.guess(model, scene)
        found = session.guess
        low, high = found.limits if found else (None, None)
        return (
            gr.update(
                choices=found.bands if found else [],
                value=found.band if found else "",
                visible=is_scene and not (found and len(found.bands) == 1),
            ),
            gr.update(value=found.units if found else "auto", visible=is_scene),
            gr.update(value=low, visible=is_scene),
            gr.update(value=high, visible=is_scene),
            gr.update(interactive=bool(file)),
            *(None, "", *[gr.update(visible=False)] * 4),
        )

    def colorize(session, file, band, units, low, high, detail, use, palette, basemap, other, other_sar, clouds, truth,
                 second, progress=bar):  # fmt: skip
        if not file:
            return [gr.skip()] * len(shown)
        with told_to_people():
            if (low is None) != (high is None):
                raise ConfigError("Range: give both ends, or none")
            settings = uploads.Settings(
                **_said_otherwise(session.guess, band, units, None if low is None else (low, high)),
                detail=detail,
                palette=_hex(palette) if use and palette else None,
                basemap=basemap,
                reference=other,
                reference_sar=other_sar,
                clouds=clouds,
            )
            key = file, settings, truth, second
            if key == session.key:  # a browser may ask twice
                return show(session, "SAR", "colours")
            session.key, session.result, session.second, asked = (), None, None, session.asked
            for earlier in session.folder.iterdir():  # of which the page has copies
                shutil.rmtree(earlier)

            def run(network: Network, settings: uploads.Settings) -> uploads.Result:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", UserWarning)
                    own = Path(tempfile.mkdtemp(dir=session.folder))
                    result = uploads.colorize_upload(
                        network,
                        Path(file),
                        settings,
                        own,
                        Path(truth) if truth else None,
                        lambda share: progress(share, desc="colorizing"),
                        lambda: session.stopped > asked,
                    )
                    said = [str(warning.message) for warning in caught if warning.category is UserWarning]
                    return dataclasses.replace(result, said=[*result.said, *said])

            session.result = run(model, settings)
            if with_paths and second and second.strip():
                other_model = network_of(second.strip())
                without = {} if other_model.takes_hint else dict.fromkeys(settings.hint)
                session.second = run(other_model, dataclasses.replace(settings, **without))
        session.key = key
        return show(session, "SAR", "colours")

    def show(session: Session, left: str, right: str) -> list[Any]:
        """What the page shows of a session: the values of `shown`."""
        result = session.result
        if result is None:
            return [gr.skip()] * len(shown)
        layers = _layers(session)
        left, right = (side if side in layers else "colours" for side in (left, right))
        is_scene = result.scene is not None
        return [
            (layers[left], layers[right]),
            gr.update(choices=[*layers], value=left),
            gr.update(choices=[*layers], value=right),
            layers[right],
            "\n".join(f"- {named(line)}" for line in result.said),
            gr.update(value=_table(session, name), visible=bool(result.figures)),
            gr.update(value=str(result.picture), visible=True),
            gr.update(value=str(result.file) if is_scene else None, visible=is_scene),
            uploads.command_line(name, result),
            uploads.python_lines(name, result),
            "Click a pixel of the picture above.",
            gr.update(visible=True),
        ]

    def pick(session: Session, event: gr.SelectData) -> str:
        if session is None or session.result is None:
            return ""
        with told_to_people():
            known = uploads.at_pixel(model, session.result, *event.index)
        return "\n".join(f"- {key}: {value}" for key, value in known.items())

    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        session = gr.State(None, delete_callback=end_session)
        gr.Markdown(f"# {_TITLE}\n\n{_WARNING}\n\nModel: `{name}`")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                file = gr.File(label="SAR image: GeoTIFF, PNG, JPEG, zip", file_types=[*uploads.UPLOADS])
                band = gr.Dropdown([], label="Band", allow_custom_value=True, visible=False)
                units = gr.Dropdown(["auto", *UNITS], value="auto", label="Units", visible=False)
                with gr.Row():
                    low = gr.Number(label="Range: becomes black", visible=False)
                    high = gr.Number(label="Range: becomes white", visible=False)
                detail = gr.Slider(0, 1, 0, step=0.05, label="SAR detail in the lightness")
                with gr.Accordion("What is known of the colours", open=True, visible=is_guided):
                    use = gr.Checkbox(False, label="Use the colour of the place")
                    palette = gr.ColorPicker("#5c6b3a", label="Colour of the place")
                    basemap = gr.File(label="Coarse image of this date (basemap)", height=140)
                    other = gr.File(label="Image of another date", height=140)
                    other_sar = gr.File(label="SAR image of that date", height=140)
                    clouds = gr.File(label="Where clouds are, not 0", height=140)
                with gr.Accordion("Compare", open=False):
                    truth = gr.File(label="Optical image of the same ground and date", height=140)
                    second = gr.Textbox(label="Second model: a run, a .keras file or demo", visible=with_paths)
                with gr.Row():
                    start = gr.Button("Colorize", variant="primary", interactive=False)
                    stop = gr.Button("Stop", variant="stop", interactive=False)
                gr.Markdown("What you change counts with the next *Colorize*.")
            with gr.Column(scale=2, min_width=300):
                with gr.Row():
                    left = gr.Dropdown(["SAR"], value="SAR", label="Left of the slider")
                    right = gr.Dropdown(["colours"], value="colours", label="Right of the slider")
                slider = gr.ImageSlider(label="SAR and colours", format="png", interactive=False, max_height=700)
                said = gr.Markdown()
                figures = gr.Markdown(visible=False, elem_classes="figures")
                with gr.Row():
                    png = gr.DownloadButton("Download PNG", visible=False)
                    tif = gr.DownloadButton("Download GeoTIFF", visible=False)
                with gr.Column(visible=False) as more:
                    with gr.Accordion("Values of a pixel", open=False):
                        picked = gr.Image(
                            label="Click a pixel", format="png", interactive=False, buttons=["fullscreen"]
                        )
                        values = gr.Markdown()
                    with gr.Accordion("The same from the command line and from Python", open=False):
                        command = gr.Code(
                            label="Command line", language="shell", lines=1, wrap_lines=True, interactive=False
                        )
                        python = gr.Code(label="Python", language="python", lines=3, wrap_lines=True, interactive=False)
        gr.Examples([[str(path)] for path in examples], [file], label="Examples", examples_per_page=20)

        given = [session, file, band, units, low, high, detail, use, palette, basemap, other, other_sar]
        given += [clouds, truth, second]
        shown = [slider, left, right, picked, said, figures, png, tif, command, python, values, more]
        looks_at = [band, units, low, high, start, slider, said, figures, png, tif, more]
        private: dict[str, Any] = {"api_visibility": "private"}
        page.load(new_session, None, session, queue=False, **private)
        running: dict[str, Any] = {"show_progress_on": [slider], "concurrency_id": "model", **private}
        looked = file.change(look, [session, file], looks_at, show_progress="hidden", **private)
        for asked in (looked.success, start.click):
            armed = asked(arm, session, stop, queue=False, **private)
            done = armed.success(colorize, given, shown, **running)
            for ended in (done.success, done.failure):
                ended(lambda: gr.update(interactive=False), None, stop, queue=False, **private)
        palette.input(lambda: True, None, use, queue=False, **private)
        stop.click(cancel, session, None, queue=False, **private)
        for side in (left, right):
            side.input(show, [session, left, right], shown, show_progress="hidden", **private)
        picked.select(pick, session, values, show_progress="hidden", **private)
    return page


def _said_otherwise(guess: uploads.Guess | None, band: str, units: str, limits) -> dict[str, Any]:
    """What a person has changed of how a scene is read; a range that was guessed is that of the guessed units alone."""
    settings: dict[str, Any] = {}
    if band and not (guess and band == guess.band):
        settings["band"] = band.partition(" ")[0]
    if units and not (guess and units == guess.units):
        settings["units"] = units
    if limits and not (guess and np.allclose(limits, guess.limits, rtol=1e-6)):
        settings["limits"] = limits
    return settings


def _layers(session: Session) -> dict[str, Any]:
    assert session.result
    layers = dict(session.result.layers)
    if session.second:
        layers["colours of the second model"] = session.second.layers["colours"]
    return layers


def _table(session: Session, name: str) -> str:
    """The figures as a table: the colours, of a second model, too, and the mean colour of the training."""
    result, second = session.result, session.second
    if result is None or not result.figures:
        return ""
    from sar_keras.reports.figures import TITLES

    columns = {name: result.figures, "second model": second.figures if second else {}}
    columns = {
        title: figures for title, figures in (columns | {"its mean colour": result.of_mean_colour}).items() if figures
    }
    lines = [f"| against the truth | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for key in result.figures:
        lines.append(f"| {TITLES[key][0]} | {' | '.join(f'{figures[key]:.4g}' for figures in columns.values())} |")
    scale = f"\n\nSeen at 1:{result.shrink:.2g} of the full size." if result.shrink > 1 else ""
    return "\n".join(lines) + scale


def _hex(colour: str) -> str:
    """Gradio's picker gives "#5c6b3a" or "rgba(92, 107, 58, 1)"."""
    if not colour.startswith("rgb"):
        return colour
    levels = [float(text) for text in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return "#" + "".join(f"{round(level):02x}" for level in levels)


def _examples(folder: Path) -> list[Path]:
    """Real crops that ship with the package, and drawn scenes."""
    folder.mkdir()
    found = [Path(shutil.copy(path, folder)) for path in sorted(_EXAMPLES.glob("real_*"))]
    for terrain in TERRAINS:
        path = folder / f"drawn_{terrain}.png"
        write_image(path, synthesize_scene(terrain, seed=0, size=256)[0])
        found.append(path)
    return found
