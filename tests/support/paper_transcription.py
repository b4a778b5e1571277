"""The paper's nine tables typed a second time, line by line, apart from ``results/paper``.

A figure is a text with the digits that the paper prints; ``-`` is an empty place.
"""

TABLES = {
    1: """
        ResNet-50            3.9 75.3  92.2
        ResNeXt-50           4.2 77.8  -
        SE-ResNet-50         3.9 76.71 93.38
        SE-ResNeXt-50        4.3 78.90 94.51
        DenseNet-201         4.3 77.42 93.66
        ResNet-50 + tricks   4.3 79.29 94.63
    """,
    2: """
        ResNet-50            75.87 92.70 75.3 92.2
        Inception-V3         77.32 93.43 78.8 94.4
        MobileNet            69.03 88.71 70.6 -
    """,
    3: """
        ResNet-50            4.4 76.21 92.97 13.3 75.87 92.70
        Inception-V3         8   77.50 93.60 19.8 77.32 93.43
        MobileNet            3.7 71.90 90.47 6.2  69.03 88.71
    """,
    4: """
        linear scaling       75.87 92.70 75.17 92.54
        + warmup             76.03 92.81 75.93 92.84
        + zero gamma         76.19 93.03 76.37 92.96
        + no bias decay      76.16 92.97 76.03 92.86
        + FP16               76.15 93.09 76.21 92.97
    """,
    5: """
        ResNet-50            25 3.8 76.21 92.97
        ResNet-50-B          25 4.1 76.66 93.28
        ResNet-50-C          25 4.3 76.87 93.48
        ResNet-50-D          25 4.3 77.16 93.52
    """,
    6: """
        efficient            77.16 93.52
        + cosine decay       77.91 93.81
        + label smoothing    78.31 94.09
        + distill w/o mixup  78.67 94.36
        + mixup w/o distill  79.15 94.58
        + distill w/ mixup   79.29 94.63
        efficient            77.26 ± 0.07 93.53 ± 0.05
        + cosine decay       77.73 ± 0.13 93.82 ± 0.08
        + label smoothing    78.37 ± 0.09 94.10 ± 0.03
        + distill w/o mixup  78.63 ± 0.04 94.38 ± 0.03
        + mixup w/o distill  79.01 ± 0.09 94.57 ± 0.02
        + distill w/ mixup   79.33 ± 0.07 94.66 ± 0.03
        efficient            77.50 93.60
        + cosine decay       78.19 94.06
        + label smoothing    78.40 94.13
        + distill w/o mixup  78.26 94.01
        + mixup w/o distill  78.77 94.39
        + distill w/ mixup   78.34 94.16
        efficient            71.90 90.53
        + cosine decay       72.83 91.00
        + label smoothing    72.93 91.14
        + distill w/o mixup  71.97 90.89
        + mixup w/o distill  73.28 91.30
        + distill w/ mixup   72.51 91.02
    """,
    7: """
        ResNet-50-D efficient 56.34 86.87 57.18 87.28
        ResNet-50-D best      56.70 87.33 57.63 87.82
    """,
    8: """
        B-standard           76.14 77.54
        D-efficient          77.16 78.30
        + cosine             77.91 79.23
        + smooth             78.34 80.71
        + distill w/o mixup  78.67 80.96
        + mixup w/o distill  79.16 81.10
        + distill w/ mixup   79.29 81.33
    """,
    9: """
        B-standard           76.14 78.08 37.05
        D-efficient          77.16 78.88 38.88
        + cosine             77.91 79.25 39.33
        + smooth             78.34 78.64 38.75
        + distill w/o mixup  78.67 78.97 38.90
        + mixup w/o distill  79.16 78.47 37.99
        + distill w/ mixup   79.29 78.72 38.40
    """,
}
FIGURES = {1: 3, 2: 4, 3: 6, 4: 4, 5: 4, 6: 2, 7: 4, 8: 2, 9: 3}


def lines(number: int) -> list[tuple[str, list[str]]]:
    """Label and figures of each line of a table, spreads as ``77.26 ± 0.07``."""
    result = []
    for line in TABLES[number].strip().splitlines():
        words = line.replace(" ± ", "±").split()
        figures = [word.replace("±", " ± ") for word in words[-FIGURES[number] :]]
        result.append((" ".join(words[: -FIGURES[number]]), figures))
    return result
