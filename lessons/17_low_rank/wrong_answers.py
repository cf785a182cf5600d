"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt import compress
from tinyopt.course import wrong

# --- 17.1 ---


@wrong("17.1", says="You took the square roots")
def singular_values_themselves():
    return 40**0.5, 10**0.5, [[2, 2], [4, 4]], 10


@wrong("17.1", says="The two are exchanged")
def smaller_first():
    return 10, 40, [[2, 2], [4, 4]], 10


@wrong("17.1", says="are the eigenvalues of W")
def eigenvalues_of_w():
    return 5, 4, [[2, 2], [4, 4]], 10


@wrong("17.1", says="is the diagonal of WᵀW")
def only_the_diagonal():
    return 25, 25, [[2, 2], [4, 4]], 10


@wrong("17.1", says="the other piece, of σ₂")
def other_piece():
    return 40, 10, [[2, -2], [-1, 1]], 10


@wrong("17.1", says="The ½ is missing")
def without_half():
    return 40, 10, [[4, 4], [8, 8]], 10


@wrong("17.1", says="rank 2")
def small_entries_to_zero():
    return 40, 10, [[4, 0], [0, 5]], 9


@wrong("17.1", says="there is a nearer one")
def a_row_dropped():
    return 40, 10, [[0, 0], [3, 5]], 16


@wrong("17.1", says="the length of W − W₁")
def length_of_the_error():
    return 40, 10, [[2, 2], [4, 4]], 10**0.5


@wrong("17.1", says="out of reach")
def asked_the_package():
    up, down = compress.truncated_svd(np.array([[4.0, 0.0], [3.0, 5.0]]), 1)
    return 40, 10, up @ down, 10


@wrong("17.1", says="each *column* became its mean", blind=True)
def projected_from_the_left():
    return 40, 10, [[3.5, 2.5], [3.5, 2.5]], 10


# --- 17.2 ---


@wrong("17.2", says="Nothing is truncated")
def never_truncated(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return u * sigma, vt


@wrong("17.2", says="do not multiply them")
def multiplied(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * sigma[:rank]) @ vt[:rank]


@wrong("17.2", says="keeps the smallest")
def smallest_kept(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return u[:, -rank:] * sigma[-rank:], vt[-rank:]


@wrong("17.2", says="the whole σ")
def sigma_twice(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * sigma[:rank], sigma[:rank, None] * vt[:rank]


@wrong("17.2", says="Only one of the factors got √σ")
def one_root(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * np.sqrt(sigma[:rank]), vt[:rank]


@wrong("17.2", says="The singular values are not used")
def without_sigma(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank], vt[:rank]


@wrong("17.2", says="returns Vᵀ")
def columns_of_vt(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * sigma[:rank], vt[:, :rank].T


@wrong("17.2", says="down lies on its side")
def down_not_transposed(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * sigma[:rank], vt[:rank].T


@wrong("17.2", says="σ multiplies the *columns* of vt", blind=True)
def sigma_along_the_wrong_axis(matrix, rank):
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * np.sqrt(sigma[:rank]), vt[:rank] * np.sqrt(sigma[:rank])


# --- 17.3 ---


@wrong("17.3", says="It adds up σ")
def not_squared(matrix, energy):
    kept = np.cumsum(np.linalg.svd(matrix, compute_uv=False))
    return int((kept < energy * kept[-1]).sum()) + 1


@wrong("17.3", says="An index counts from 0")
def index_for_rank(matrix, energy):
    kept = np.cumsum(np.linalg.svd(matrix, compute_uv=False) ** 2)
    return max(1, int((kept < energy * kept[-1]).sum()))


@wrong("17.3", says="a rank from 1")
def argmax_alone(matrix, energy):
    kept = np.cumsum(np.linalg.svd(matrix, compute_uv=False) ** 2)
    return int(np.argmax(kept >= energy * kept[-1]))


@wrong("17.3", says="≥, not >")
def strictly_more(matrix, energy):
    kept = np.cumsum(np.linalg.svd(matrix, compute_uv=False) ** 2)
    return min(int((kept <= energy * kept[-1]).sum()) + 1, len(kept))


@wrong("17.3", says="It begins with the smallest σ")
def smallest_first(matrix, energy):
    kept = np.cumsum(np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2)
    return int((kept < energy * kept[-1]).sum()) + 1


@wrong("17.3", says="a share of 1 − energy")
def what_may_be_lost(matrix, energy):
    kept = np.cumsum(np.linalg.svd(matrix, compute_uv=False) ** 2)
    return int((kept < (1 - energy) * kept[-1]).sum()) + 1


@wrong("17.3", says="is a whole number")
def share_of_the_rank(matrix, energy):
    return energy * min(matrix.shape)


@wrong("17.3", says="a share of the number of ranks")
def share_of_the_rank_rounded_up(matrix, energy):
    return int(np.ceil(energy * min(matrix.shape)))


@wrong("17.3", says="the square of the sum", blind=True)
def square_of_the_sum(matrix, energy):
    sigma = np.linalg.svd(matrix, compute_uv=False)
    kept = np.cumsum(sigma**2) / sigma.sum() ** 2
    return min(int((kept < energy).sum()) + 1, len(sigma))


# --- 17.4 ---


@wrong("17.4", says="the break-even itself")
def break_even(shape):
    m, n = shape
    return m * n / (m + n)


@wrong("17.4", says="Nothing is saved")
def rounded_down(shape):
    m, n = shape
    return (m * n) // (m + n)


@wrong("17.4", says="This rank saves nothing")
def rounded_up(shape):
    m, n = shape
    return -(-m * n // (m + n))


@wrong("17.4", says="the full rank")
def full_rank(shape):
    return min(shape)


@wrong("17.4", says="only one of the two factors")
def one_factor(shape):
    m, n = shape
    return min((m * n - 1) // m, (m * n - 1) // n)


@wrong("17.4", says="A larger rank still saves")
def half_of_the_smaller(shape):
    return (min(shape) - 1) // 2


@wrong("17.4", says="Take one off *only* where", blind=True)
def one_off_always(shape):
    m, n = shape
    return max(m * n // (m + n) - 1, 0)


# --- 17.5 ---


@wrong("17.5", says="less than 95 %")
def two_equal_directions():
    return [[1, 0], [0, 1]], [0, 1]


@wrong("17.5", says="the direction that is kept")
def along_the_first():
    return [[10, 0], [0, 1]], [1, 0]


@wrong("17.5", says="changes too little")
def a_mixture():
    return [[10, 0], [0, 1]], [1, 1]


@wrong("17.5", says="nothing can be lost")
def no_input():
    return [[10, 0], [0, 1]], [0, 0]


@wrong("17.5", says="has rank 1 already")
def rank_one_matrix():
    return [[10, 0], [0, 0]], [0, 1]


@wrong("17.5", says="the weak direction of the *outputs*", blind=True)
def weak_among_the_outputs():
    return [[0, 1], [10, 0]], [1, 0]
