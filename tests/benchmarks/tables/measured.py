"""MEASURED.md: fits to training runs under measured schedules."""

from .markdown import table

FITTED = ("constant_24000", "cosine_24000", "wsdcon_9")


def lines(schedules, parameters, noise, schedule_laws, penalties):
    """Lines of the file, from what the topic measured recorded."""
    return [
        "# Fits to training runs under measured schedules",
        "",
        "Written by `python tests/benchmarks/report.py` from records made by others, which do not come with the package.",
        "",
        "## Unseen schedules",
        "",
        "Llama-style models of 25M and 100M parameters under nine schedules (arXiv:2503.12811). `ds.twopoint.fit()` of",
        f"{', '.join(FITTED)}; RMSE in nats over all logged points of six others, and the published mean of the",
        "7-parameter MultiPowerLaw fitted to the same three.",
        "",
        *table("model", schedules, "{:.5f}".format),
        "",
        "Its seven free parameters, with standard errors:",
        "",
        *table("model", parameters, lambda pair: "{:.4g} ± {:.2g}".format(*pair)),
        "",
        "Other laws fitted to the same three, and the mean over the six of the RMSE; `ds.laws.fit(...)` knows the",
        "schedules as recorded, every 128 steps, the true ones have their jumps where they were:",
        "",
        *table("law, M parameters", schedule_laws, "{:.5f}".format),
        "",
        "The published parameters of MultiPowerLaw are not at the minimum of their objective, the sum of Huber penalties",
        "with a threshold of 1e-3 on the log loss:",
        "",
        *table("M parameters", penalties, "{:.2e}".format),
        "",
        "## Noise",
        "",
        "Multilayer perceptrons in muP (arXiv:2507.02119) under const, linear and multicosine, fitted together for each",
        "width, beside `Buvar`, the measured preconditioned noise of their gradients, in the run of constant rate after",
        "its first 2 %. A settled loss of noise is Buvar/4 in units of the peak rate over the batch, and",
        "noise_rate Tr(Sigma) L / 2 in the theory.",
        "",
        *table("width", noise, "{:.3g}".format),
        "",
    ]
