"""Gates: what a run measured, condensed, against limits and against what another run measured."""
