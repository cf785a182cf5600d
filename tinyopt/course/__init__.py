"""The course: exercises that answer, and notebooks that are built. In a notebook, begin with

    from tinyopt.course import start
    check, hint, reveal, yours = start(1)

Read the files in this order:

    declare.py   `exercise`, `task`, `wrong`: what a lesson's test files say
    compare.py   `same`, `recognise`: two arrays differ: where, by how much, and by which classic mistake
    draws.py     numbers for tests of exercises, and a slow slope
    reach.py     the package's own function is put out of reach; yours is put in its place
    judge.py     run the tests of an exercise on a function: the verdict
    verdict.py   how a verdict looks, in a notebook and in a terminal
    notebook.py  `start`: the four functions that a student calls
    lessons.py   where the lessons lie, and how their files are loaded
    percent.py, build.py     lesson.py -> lesson.ipynb, without answers
    prove.py, execute.py     every exercise proven, every notebook executed; `python -m tinyopt.course`
"""

from tinyopt.course.compare import Wrong, recognise, same, two_arrays
from tinyopt.course.declare import exercise, task, wrong
from tinyopt.course.notebook import STYLE, start

__all__ = ["STYLE", "Wrong", "exercise", "recognise", "same", "start", "task", "two_arrays", "wrong"]
