"""Table 1, Figs. 5 and 6, section 3.2: what probes on frozen CLS tokens find, and where.

Top-1 accuracy in percent, gains in percentage points. The final layer is block 11, counted from 0.
"""

from __future__ import annotations

from harness.evidence.claim import claim
from harness.evidence.decide import Decision, below, equivalent, exceeds
from harness.readings.probes import Probes, difference, gain

JE = ("moco_v3", "dino")


@claim(
    "lp-order",
    title="JE beats MAE in linear probes",
    quantity="points",
    main=True,
    where="3.2, Table 1",
    statement="Joint-embedding features yield better linear probe transfer for classification than reconstruction features.",
    reading="linear probe on the final CLS token, each JE model minus MAE",
    margin=5.0,
    published="numbers",
    asks="difference",
)
def test_je_has_the_better_linear_probe(probes: Probes, margin: float) -> list[Decision]:
    return [exceeds(difference(probes, (je, "final"), ("mae", "final")), margin) for je in JE]


@claim(
    "nlp-je-small",
    title="A two-layer probe adds little to JE",
    quantity="points",
    where="3.2, Fig. 5",
    statement="Both JE models see very small improvements from a two-layer probe.",
    reading="probe of depth 2 minus depth 1 on the final CLS token, for each JE model",
    margin=0.75,
    published="numbers",
)
def test_a_second_layer_barely_helps_je(probes: Probes, margin: float) -> list[Decision]:
    return [below(gain(probes, je, "depth2"), margin) for je in JE]


@claim(
    "nlp-je-flat",
    title="Still deeper probes add nothing to JE",
    quantity="points",
    where="3.2, Fig. 5",
    statement="Probes deeper than two layers bring JE models no improvement.",
    reading="best probe of depth 3 to 5, chosen on a hold-out, minus depth 2 on the final CLS token, for each JE model",
    margin=0.2,
    published="plot",
)
def test_more_layers_do_not_help_je(probes: Probes, margin: float) -> list[Decision]:
    return [below(difference(probes, (je, "deep"), (je, "depth2")), margin) for je in JE]


@claim(
    "nlp-mae-gain",
    title="A deeper probe gains much for MAE",
    quantity="points",
    main=True,
    where="3.2, Fig. 5",
    statement="MAE reports a large improvement from a three-layer probe.",
    reading="probe of depth 3 minus depth 1 on the final CLS token of MAE; and above either JE model's gain at depth 2",
    margin=0.75,
    published="numbers",
)
def test_a_third_layer_helps_mae(probes: Probes, margin: float) -> list[Decision]:
    mae = {("mae", "depth3"): 1.0, ("mae", "final"): -1.0}
    larger = [exceeds(probes.combination(mae | {(je, "depth2"): -1.0, (je, "final"): 1.0}), 0) for je in JE]
    return [exceeds(gain(probes, "mae", "depth3"), margin), *larger]


@claim(
    "nlp-mae-below",
    title="MAE's deeper probe stays below JE",
    quantity="points",
    where="3.2, Fig. 5",
    statement="The improvement of MAE by a deeper probe is not enough to match the performance of JE final layer features.",
    reading="linear probe of each JE model minus the three-layer probe of MAE, on final CLS tokens",
    margin=3.0,
    published="numbers",
    asks="difference",
)
def test_mae_with_a_deep_probe_stays_below_je(probes: Probes, margin: float) -> list[Decision]:
    return [exceeds(difference(probes, (je, "final"), ("mae", "depth3")), margin) for je in JE]


@claim(
    "inter-mae",
    title="An intermediate layer helps MAE",
    quantity="points",
    main=True,
    where="3.2, Table 1, Fig. 6",
    statement="A linear probe on the final and an intermediate layer improves classification for reconstruction features.",
    reading="linear probe on the final and the best other block, chosen on a hold-out, minus the final alone, for MAE",
    margin=1.0,
    published="numbers",
)
def test_an_intermediate_layer_helps_mae(probes: Probes, margin: float) -> Decision:
    return exceeds(gain(probes, "mae", "pair"), margin)


@claim(
    "inter-je-null",
    title="Intermediate layers do not help JE",
    quantity="points",
    main=True,
    where="3.2, Table 1, Fig. 6",
    statement="Intermediate layer features provide no marginal utility for JE representations.",
    reading="linear probe on the final and the best other block minus the final alone, each JE model: within the margin of 0",
    margin=0.5,
    published="numbers",
)
def test_an_intermediate_layer_adds_next_to_nothing_to_je(probes: Probes, margin: float) -> list[Decision]:
    return [equivalent(gain(probes, je, "pair"), margin) for je in JE]


@claim(
    "wide-control",
    title="A wider probe of one layer does not help",
    quantity="points",
    where="3.2, Fig. 6",
    statement="The improvement is not that of a probe with more dimensions: the last layer joined to itself does not help.",
    reading="linear probe on block 11 twice minus block 11 once, for each model: within the margin of 0",
    margin=0.3,
    published="plot",
)
def test_the_last_layer_twice_does_not_help(probes: Probes, margin: float) -> list[Decision]:
    return [equivalent(gain(probes, model, "wide"), margin) for model in (*JE, "mae")]


@claim(
    "all-mae",
    title="All layers together help MAE most",
    quantity="points",
    where="3.2, Table 1",
    statement="All intermediate CLS features together give MAE the largest increase over the final ones alone.",
    reading="linear probe on all blocks minus the final one, for MAE; and above that on the final and the best other block",
    margin=1.5,
    published="numbers",
)
def test_all_layers_help_mae_most(probes: Probes, margin: float) -> list[Decision]:
    over_pair = difference(probes, ("mae", "all"), ("mae", "pair"))
    return [exceeds(gain(probes, "mae", "all"), margin), exceeds(over_pair, 0)]


@claim(
    "all-je-drop",
    title="All layers together hurt JE",
    quantity="points",
    where="3.2, Table 1",
    statement="All intermediate CLS features together lower the accuracy of JE models.",
    reading="linear probe on all blocks minus the final one, for each JE model",
    margin=0.0,
    published="numbers",
)
def test_all_layers_hurt_je(probes: Probes, margin: float) -> list[Decision]:
    return [below(gain(probes, je, "all"), margin) for je in JE]


@claim(
    "all-mae-same-width",
    title="All layers help MAE at equal width",
    quantity="points",
    where="3.2, Table 1",
    statement="All intermediate CLS features together help MAE by what is in them, not by how many they are.",
    reading="linear probe on random projections of all blocks to the width of one, the mean of three, minus the final block, "
    "for MAE",
    margin=1.5,
    published="none",
)
def test_all_layers_help_mae_at_equal_width(probes: Probes, margin: float) -> Decision:
    return exceeds(gain(probes, "mae", "projected"), margin)


@claim(
    "all-je-same-width",
    title="All layers hurt JE at equal width",
    quantity="points",
    where="3.2, Table 1",
    statement="All intermediate CLS features together hurt JE models by what is in them, not by how many they are.",
    reading="linear probe on random projections of all blocks to the width of one, the mean of three, minus the final block, "
    "for each JE model",
    margin=0.0,
    published="none",
)
def test_all_layers_hurt_je_at_equal_width(probes: Probes, margin: float) -> list[Decision]:
    return [below(gain(probes, je, "projected"), margin) for je in JE]


@claim(
    "all-mae-code",
    title="All layers shorten MAE's code of labels",
    quantity="% of the code",
    where="3.2, Table 1",
    statement="All intermediate CLS features together make MAE's classes easier to learn, from few images too.",
    reading="online code of the training labels by linear probes on the final block minus on all blocks, in percent of the "
    "labels' own length, for MAE",
    margin=1.5,
    published="none",
)
def test_all_layers_shorten_the_code_of_mae(probes: Probes, margin: float) -> Decision:
    return exceeds(probes.code("mae", "final") - probes.code("mae", "all"), margin)


@claim(
    "all-je-code",
    title="All layers lengthen JE's code of labels",
    quantity="% of the code",
    where="3.2, Table 1",
    statement="All intermediate CLS features together make JE models' classes harder to learn, from few images too.",
    reading="online code of the training labels by linear probes on the final block minus on all blocks, in percent of the "
    "labels' own length, for each JE model",
    margin=0.0,
    published="none",
)
def test_all_layers_lengthen_the_code_of_je(probes: Probes, margin: float) -> list[Decision]:
    return [below(probes.code(je, "final") - probes.code(je, "all"), margin) for je in JE]
