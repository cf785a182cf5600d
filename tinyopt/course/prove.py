"""Prove every exercise: the reference passes, the blank fails every test, each wrong answer is named."""

from tinyopt.course import percent
from tinyopt.course.answers import definitions
from tinyopt.course.judge import Ex, judge, trial
from tinyopt.course.lessons import exercises, find, wrong_answers

AT_LEAST = 3  # wrong answers for each exercise


def prove(number):
    """All that is not as it should be with the exercises of a lesson, as sentences; none is the proof."""
    problems, wrongs, given = [], wrong_answers(number), blanks(number)
    for id, exercise in exercises(number).items():
        for test in exercise.tests:
            verdict = trial(test, Ex(exercise))
            if verdict is not None:
                problems.append(f"{id}: the reference fails {test.__name__}: {verdict!r}")
            verdict = trial(test, Ex(exercise, given[id]))
            if verdict is None or verdict.kind != "not written yet":
                problems.append(
                    f"{id}: the blank should be 'not written yet' in {test.__name__}; it is {verdict!r}"
                )
        if len(wrongs[id]) < AT_LEAST:
            problems.append(
                f"{id}: there should be {AT_LEAST} wrong answers or more; there are {len(wrongs[id])}"
            )
        if not any(function.blind for function in wrongs[id]):
            problems.append(f"{id}: one wrong answer should be of someone who has not read the tests, blind=True")
        for function in wrongs[id]:
            verdict, says = judge(exercise, function), function.mistake[1]
            if verdict or verdict.kind == "not written yet" or says not in repr(verdict):
                problems.append(
                    f"{id}: the verdict on {function.__name__} should say {says!r}; it is {verdict!r}"
                )
    return problems


def blanks(number):
    """The functions as the student's notebook has them, {id: function}."""
    cells = percent.read(find(number) / "lesson.py")
    code = "\n".join(cell.source() for cell in cells if cell.kind == "code")
    known = exercises(number)
    found = definitions([(f"lesson {number}, blank", code)], [exercise.name for exercise in known.values()])
    return {id: found[exercise.name] for id, exercise in known.items()}
