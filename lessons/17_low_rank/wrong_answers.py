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
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
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


# --- 17.6 ---


def root_of(gram):
    """S, as the notebook gives it."""
    values, vectors = np.linalg.eigh(gram)
    return vectors * np.sqrt(np.maximum(values, 0))


@wrong("17.6", says="the inputs do not count")
def plain_svd(weight, gram, rank):
    u, sigma, vt = np.linalg.svd(weight, full_matrices=False)
    return u[:, :rank] * sigma[:rank], vt[:rank], float((sigma[rank:] ** 2).sum())


@wrong("17.6", says="The way back is missing")
def still_whitened(weight, gram, rank):
    p, sigma, qt = np.linalg.svd(weight @ root_of(gram), full_matrices=False)
    return p[:, :rank] * sigma[:rank], qt[:rank], float((sigma[rank:] ** 2).sum())


@wrong("17.6", says="in place of S⁻¹")
def transposed_for_inverse(weight, gram, rank):
    p, sigma, qt = np.linalg.svd(weight @ root_of(gram), full_matrices=False)
    return p[:, :rank] * sigma[:rank], qt[:rank] @ root_of(gram).T, float((sigma[rank:] ** 2).sum())


@wrong("17.6", says="S stands on the wrong side")
def root_transposed(weight, gram, rank):
    p, sigma, _ = np.linalg.svd(weight @ root_of(gram).T, full_matrices=False)
    return p[:, :rank], p[:, :rank].T @ weight, float((sigma[rank:] ** 2).sum())


@wrong("17.6", says="holds S twice")
def gram_for_root(weight, gram, rank):
    p, sigma, _ = np.linalg.svd(weight @ gram, full_matrices=False)
    return p[:, :rank], p[:, :rank].T @ weight, float((sigma[rank:] ** 2).sum())


@wrong("17.6", says="alone only turn W")
def eigenvectors_alone(weight, gram, rank):
    _, vectors = np.linalg.eigh(gram)
    p, sigma, _ = np.linalg.svd(weight @ vectors, full_matrices=False)
    return p[:, :rank], p[:, :rank].T @ weight, float((sigma[rank:] ** 2).sum())


@wrong("17.6", says="*last* columns of P")
def smallest_outputs(weight, gram, rank):
    p, sigma, _ = np.linalg.svd(weight @ root_of(gram), full_matrices=False)
    return p[:, -rank:], p[:, -rank:].T @ weight, float((sigma[:-rank] ** 2).sum())


@wrong("17.6", says="σ is in it twice", blind=True)
def sigma_counted_again(weight, gram, rank):
    p, sigma, _ = np.linalg.svd(weight @ root_of(gram), full_matrices=False)
    up = p[:, :rank] * sigma[:rank]
    down = p[:, :rank].T @ weight
    return up, down, (sigma[rank:] ** 2).sum()


@wrong("17.6", says="Nothing is truncated")
def all_axes(weight, gram, rank):
    p, sigma, _ = np.linalg.svd(weight @ root_of(gram), full_matrices=False)
    return p, p.T @ weight, float((sigma[rank:] ** 2).sum())


@wrong("17.6", says="what is *kept*")
def error_of_the_kept(weight, gram, rank):
    p, sigma, _ = np.linalg.svd(weight @ root_of(gram), full_matrices=False)
    return p[:, :rank], p[:, :rank].T @ weight, float((sigma[:rank] ** 2).sum())


@wrong("17.6", says="the error of the *weights*", blind=True)
def error_of_the_weights(weight, gram, rank):
    p = np.linalg.svd(weight @ root_of(gram), full_matrices=False)[0]
    up = p[:, :rank]
    down = up.T @ weight
    return up, down, ((weight - up @ down) ** 2).sum()


@wrong("17.6", says="Square first")
def error_not_squared(weight, gram, rank):
    p, sigma, _ = np.linalg.svd(weight @ root_of(gram), full_matrices=False)
    return p[:, :rank], p[:, :rank].T @ weight, float(sigma[rank:].sum())


@wrong("17.6", says="H has no inverse here")
def with_an_inverse(weight, gram, rank):
    root = np.linalg.cholesky(gram)
    p, sigma, qt = np.linalg.svd(weight @ root, full_matrices=False)
    return p[:, :rank] * sigma[:rank], qt[:rank] @ np.linalg.inv(root), float((sigma[rank:] ** 2).sum())


# --- 17.7 ---


def banks(matrix, rank, shape):
    """Both factors of a matrix as filter banks, in the right order."""
    n_out, n_in, kh, kw = shape
    up, down = compress.truncated_svd(matrix, rank)
    return up.T.reshape(rank, n_in, kh, 1), down.reshape(rank, n_out, 1, kw).transpose(1, 0, 2, 3)


@wrong("17.7", says="without a transpose")
def reshaped_only(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    return banks(weight.reshape(n_in * kh, n_out * kw), rank, weight.shape)


@wrong("17.7", says="Its rows are ranks")
def out_channels_first(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    up, down = compress.truncated_svd(weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw), rank)
    return up.T.reshape(rank, n_in, kh, 1), down.reshape(n_out, rank, 1, kw)


@wrong("17.7", says="its *columns* are the ranks")
def up_not_transposed(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    up, down = compress.truncated_svd(weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw), rank)
    return up.reshape(rank, n_in, kh, 1), down.reshape(rank, n_out, 1, kw).transpose(1, 0, 2, 3)


@wrong("17.7", says="transpose after the reshape")
def rank_axis_first(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    up, down = compress.truncated_svd(weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw), rank)
    return up.T.reshape(rank, n_in, kh, 1), down.reshape(rank, n_out, 1, kw)


@wrong("17.7", says="(c, j, o, i), but is read as (c, i, o, j)")
def height_and_width_exchanged(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    return banks(weight.transpose(1, 3, 0, 2).reshape(n_in * kh, n_out * kw), rank, weight.shape)


@wrong("17.7", says="(i, c, o, j), but is read as (c, i, o, j)")
def height_before_channel(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    return banks(weight.transpose(2, 1, 0, 3).reshape(n_in * kh, n_out * kw), rank, weight.shape)


@wrong("17.7", says="turned by 180°")
def flipped(weight, rank):
    _, n_in, kh, _ = weight.shape
    vertical, horizontal = banks(weight.transpose(1, 2, 0, 3).reshape(n_in * kh, -1), rank, weight.shape)
    return vertical[:, :, ::-1], horizontal[..., ::-1]


@wrong("17.7", says="The two are exchanged")
def horizontal_first(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    return banks(weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw), rank, weight.shape)[::-1]


@wrong("17.7", says="Height and width are exchanged")
def wide_first(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    up, down = compress.truncated_svd(weight.transpose(1, 3, 0, 2).reshape(n_in * kw, n_out * kh), rank)
    return up.T.reshape(rank, n_in, 1, kw), down.reshape(rank, n_out, kh, 1).transpose(1, 0, 2, 3)


@wrong("17.7", says="axes in another order or number")
def kernels_of_two_axes(weight, rank):
    _, n_in, kh, _ = weight.shape
    vertical, horizontal = banks(weight.transpose(1, 2, 0, 3).reshape(n_in * kh, -1), rank, weight.shape)
    return vertical[..., 0], horizontal[:, :, 0]


@wrong("17.7", says="(c, i, j, o), but is read as (c, i, o, j)", blind=True)
def out_channels_to_the_end(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    return banks(np.moveaxis(weight, 0, -1).reshape(n_in * kh, n_out * kw), rank, weight.shape)


@wrong("17.7", says="i counts kh and j counts kw", blind=True)
def width_runs_down(weight, rank):
    n_out, n_in, kh, kw = weight.shape
    matrix = weight.transpose(1, 3, 0, 2).reshape(n_in * kw, n_out * kh)
    return banks(matrix, rank, (n_out, n_in, kw, kh))


# --- 17.8 ---


@wrong("17.8", says="The factor α / r is missing")
def without_a_factor(weight, down, up, *, alpha):
    return weight + up @ down


@wrong("17.8", says="does not divide by r")
def alpha_alone(weight, down, up, *, alpha):
    return weight + alpha * (up @ down)


@wrong("17.8", says="the other way up")
def rank_by_alpha(weight, down, up, *, alpha):
    return weight + len(down) / alpha * (up @ down)


@wrong("17.8", says="by the number of outputs")
def outputs_for_rank(weight, down, up, *, alpha):
    return weight + alpha / len(up) * (up @ down)


@wrong("17.8", says="by the number of inputs")
def inputs_for_rank(weight, down, up, *, alpha):
    return weight + alpha / down.shape[1] * (up @ down)


@wrong("17.8", says="without W")
def change_alone(weight, down, up, *, alpha):
    return alpha / len(down) * (up @ down)


@wrong("17.8", says="It scales W as well")
def all_scaled(weight, down, up, *, alpha):
    return alpha / len(down) * (weight + up @ down)


@wrong("17.8", says="taken away")
def taken_away(weight, down, up, *, alpha):
    return weight - alpha / len(down) * (up @ down)


@wrong("17.8", says="in place", blind=True)
def in_place(weight, down, up, *, alpha):
    weight += alpha / down.shape[0] * (up @ down)
    return weight


@wrong("17.8", says="The input meets A first")
def other_order(weight, down, up, *, alpha):
    change = down @ up if len(down) == len(up) == down.shape[1] else up @ down
    return weight + alpha / len(down) * change


@wrong("17.8", says="rsLoRA")
def root_of_the_rank(weight, down, up, *, alpha):
    return weight + alpha / np.sqrt(len(down)) * (up @ down)


@wrong("17.8", says="the rank of the matrix B A", blind=True)
def rank_of_the_change(weight, down, up, *, alpha):
    change = up @ down
    return weight + alpha / np.linalg.matrix_rank(change) * change
