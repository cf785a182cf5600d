"""Settings for all tests: Hypothesis draws few examples, the same in every run, and no clock judges them."""

import os

from hypothesis import settings

os.environ["TINYOPT_PROGRESS"] = "off"  # whoever runs the tests has solved nothing by it

settings.register_profile("tinyopt", max_examples=20, derandomize=True, deadline=None, database=None)
settings.load_profile("tinyopt")
