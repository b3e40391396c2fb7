"""The colours of all plots: Okabe and Ito's, told apart by colour-blind eyes. Sky and orange are for areas only."""

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
SKY, ORANGE = "#56B4E9", "#E69F00"
INK, PAPER = "#000000", "#ffffff"

ON_DARK = {
    BLUE: "#56B4E9",
    VERMILLION: "#FF9A4D",
    GREEN: "#2FC79B",
    GREY: "#a6a6a6",
    SKY: "#24506E",
    ORANGE: "#A06F00",
    INK: "#e8e8e8",
    PAPER: "#16181b",
}
"""What each colour of a plot becomes on dark paper, with at least the contrast that it has on white."""
