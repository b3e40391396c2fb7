"""The colours of all plots: Okabe and Ito's, told apart by colour-blind eyes. Sky and orange are for areas only."""

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
SKY, ORANGE = "#56B4E9", "#E69F00"
