"""Open lessons in JupyterLab in a headless Chromium, run all cells, and take pictures: python .ci/jupyterlab.py OUT [N ...]

Fails if a cell raises, or if a figure that a cell made is not seen. Needs the extra `lessons`, `pip install selenium`
and Debian's packages chromium and chromium-driver.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, WebDriverException
from selenium.webdriver.chrome.service import Service

from tinyopt.course.lessons import copy, numbers

FLAGS = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking"
PATIENCE = 300  # seconds for one lesson
STATE = """
const cells = [...jupyterapp.shell.currentWidget.content.model.cells];
const outputs = cells.filter(c => c.type === 'code').map(c => [c.executionCount, c.sharedModel.source, c.outputs.toJSON()]);
return {
    waiting: outputs.filter(o => o[1].trim() && o[0] === null).length,
    status: jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status,
    errors: outputs.flatMap(o => o[2].filter(x => x.output_type === 'error').map(x => x.ename + ': ' + x.evalue)),
    figures: outputs.flatMap(o => o[2].filter(x => x.data && x.data['image/png'])).length,
};
"""
SEEN = """
const page = jupyterapp.shell.currentWidget.node;
const box = page.querySelector('.jp-WindowedPanel-outer') || page.querySelector('.jp-Notebook');
box.scrollTop = arguments[0];
return [box.scrollHeight, box.clientHeight];
"""
SHOWN = """
const images = [...jupyterapp.shell.currentWidget.node.querySelectorAll('.jp-RenderedImage img')];
return images.filter(i => i.naturalWidth > 100).map(i => i.src.length + i.src.slice(-40));
"""


def main(out, *chosen):
    """Look at the chosen lessons, or all; the exit status counts those that are not as they should be."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    problems = 0
    with tempfile.TemporaryDirectory() as folder:
        names = {number: copy(number, folder).name for number in map(int, chosen or numbers())}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = serve(folder, port)
        browser = open_browser()
        try:
            for number, name in names.items():
                problems += look(browser, f"http://127.0.0.1:{port}/lab/tree/{name}?reset", number, out)
        finally:
            browser.quit()
            server.terminate()
            server.wait()
    return min(problems, 1)


def serve(folder, port):
    """Start JupyterLab on a folder, without a token, for this machine only."""
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--ip=127.0.0.1"]
    environment = {**os.environ, "TINYOPT_PROGRESS": "off"}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)


def open_browser():
    """Chromium without a screen."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in [*FLAGS.split(), "--window-size=1300,1400"]:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def look(browser, address, number, out):
    """Run one lesson as its reader does, and scroll through it; returns the number of problems."""
    started = time.time()
    ready = "return jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
    until(lambda: browser.get(address) or True, "the server answers")
    until(lambda: browser.execute_script(ready) == "idle", "the kernel is ready")
    browser.execute_script("jupyterapp.shell.collapseLeft()")
    browser.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")

    def done():
        state = browser.execute_script(STATE)
        return state if state["errors"] or (state["status"] == "idle" and not state["waiting"]) else None

    state = until(done, "all cells have run")
    seconds, shown, top, page = time.time() - started, set(), 0, 0
    while True:
        height, step = browser.execute_script(SEEN, top)
        time.sleep(0.5)
        shown |= set(browser.execute_script(SHOWN))
        browser.save_screenshot(str(out / f"{number:02}_{page:02}.png"))
        top, page = top + step - 60, page + 1
        if top + 60 >= height:
            break
    print(f"lesson {number}: {seconds:.0f} s, {len(shown)} of {state['figures']} figures seen, errors: {state['errors']}")
    return len(state["errors"]) + (len(shown) < state["figures"])


def until(ask, what):
    """Ask until the answer is true, and return it.

    Raises: TimeoutError when the patience is over.
    """
    ending = time.time() + PATIENCE
    while time.time() < ending:
        try:
            if answer := ask():
                return answer
        except (JavascriptException, WebDriverException):
            pass  # not yet
        time.sleep(0.5)
    raise TimeoutError(f"in {PATIENCE} s it was not seen that {what}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
