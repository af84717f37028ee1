"""The losses of the three methods, on vectors that need not be normalised."""

from keras import ops


def nt_xent(first, second, temperature: float, others=(), decoupled: bool = False):
    """NT-Xent of SimCLR (arXiv 2002.05709, equation 1): a scalar, in nats.

    `first` and `second` (B, D) hold the two views of B pictures, row by row. Of the 2B - 1 other
    views each view has to find the one of its own picture, by cosine similarity divided by
    `temperature`.

    `others` are small crops of the same pictures, (B, D) each (multi-crop, arXiv 2006.09882,
    section 3.2). They look for and are not looked for: each has two positives among the 2B views,
    and its loss is the mean over both (as in SupCon, arXiv 2004.11362,
    equation 2). All views, large and small, count alike.

    With `decoupled`, a view has no view of its own picture in its denominator: the decoupled
    contrastive loss (arXiv 2110.06848), whose gradient does not fade where the batch is small.
    """
    count = ops.shape(first)[0]
    views = l2_normalize(ops.concatenate([first, second], axis=0))
    similarity = views @ ops.transpose(views) / temperature
    # A view is not asked to find itself.
    left_out = ops.tile(ops.eye(count), (2, 2)) if decoupled else ops.eye(2 * count)
    similarity = similarity - 1e9 * left_out
    partner = ops.sum(views * ops.roll(views, count, axis=0), axis=-1) / temperature
    losses = [ops.logsumexp(similarity, axis=-1) - partner]
    if len(others):
        both = (views[:count] + views[count:]) / 2  # the mean similarity with the two positives
        crops = l2_normalize(ops.concatenate(others, axis=0))
        positive = ops.sum(crops * ops.tile(both, (len(others), 1)), axis=-1) / temperature
        similarity = crops @ ops.transpose(views) / temperature
        if decoupled:
            similarity = similarity - 1e9 * ops.tile(ops.eye(count), (len(others), 2))
        losses.append(ops.logsumexp(similarity, axis=-1) - positive)
    return ops.mean(ops.concatenate(losses))


def info_nce(queries, keys, queue, temperature: float):
    """InfoNCE of MoCo (arXiv 1911.05722, equation 1): a scalar, in nats.

    Each of `queries` (B, D) has to find its own row of `keys` (B, D) among that and all of
    `queue` (K, D), by cosine similarity divided by `temperature`.
    """
    queries, keys, queue = l2_normalize(queries), l2_normalize(keys), l2_normalize(queue)
    positive = ops.sum(queries * keys, axis=-1, keepdims=True)
    logits = ops.concatenate([positive, queries @ ops.transpose(queue)], axis=-1) / temperature
    return ops.mean(ops.logsumexp(logits, axis=-1) - logits[:, 0])


def byol_loss(predictions, targets):
    """Squared distance of unit vectors (arXiv 2006.07733, equation 2): a scalar from 0 to 4.

    `predictions` and `targets` are (B, D). The paper adds this up over both ways round.
    """
    return ops.mean(2 - 2 * ops.sum(l2_normalize(predictions) * l2_normalize(targets), axis=-1))


def spread(vectors):
    """How far the unit vectors of a batch (B, D) lie apart: 0 if all alike (collapse), at most 1.

    One minus the squared length of their mean.
    """
    return 1 - ops.sum(ops.square(ops.mean(l2_normalize(vectors), axis=0)))


def l2_normalize(vectors):
    # The epsilon is inside the root, so that the gradient of a zero vector is zero and not NaN.
    return vectors * ops.rsqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + 1e-12)
