"""The main job and what it shows. Read `tour.py`: its functions apply one technique each; all else serves it.

    tour.py       `tinyopt tour`: train, compress in eight ways, save, load, measure
    lab.py        what these ways share: the baseline, its copies, training, and choosing on validation data
    fresh.py      a file, measured by a process that has nothing else
    results.py    the rows of the table, and where they are written
    tables.py     rows as text, Markdown, CSV; a model file's ledger
    plots.py      the figures, as functions of data; low_rank_plots.py: spectra, accuracy against rank
    readme.py     the table into a README
    doctor.py     what this machine has
    blas.py       the library under the matrix products, and its threads
"""
