"""Settings for all tests: Hypothesis draws few examples, the same in every run, and no clock judges them."""

from hypothesis import settings

settings.register_profile("tinyopt", max_examples=20, derandomize=True, deadline=None, database=None)
settings.load_profile("tinyopt")
