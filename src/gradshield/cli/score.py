"""`gradshield score`: the first step of `filter`, the only one that needs the model."""

from __future__ import annotations

from gradshield.cli import executor_options as x
from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.cli.run_config import build_config
from gradshield.config import DEFAULT_BETA
from gradshield.models.layers import LATE_MLP
from gradshield.probes.calibration import DEFAULT_NORMALISATION, DEFAULT_TAKE_OUT
from gradshield.run.folder import RunFolder
from gradshield.run.score import score
from gradshield.scoring.engines.base import DEFAULT_REDUCTION
from gradshield.scoring.shards import parse_shard


def score_command(
    out: o.OutOption,
    data: o.ScoredDataArgument = None,
    model: o.ModelOption = o.DEFAULT_MODEL,
    adapter: o.AdapterOption = None,
    revision: o.RevisionOption = None,
    dtype: o.DTypeOption = "auto",
    device: o.DeviceOption = "auto",
    trust_remote_code: o.TrustOption = False,
    split: o.SplitOption = None,
    subset: o.SubsetOption = None,
    data_revision: o.DataRevisionOption = None,
    format: o.FormatOption = "auto",
    response: o.ResponseOption = "all",
    max_length: o.MaxLengthOption = None,
    profile: o.ProfileOption = None,
    profile_option: o.ProfileSettingOption = None,
    axolotl: o.AxolotlOption = None,
    dataset_info: o.DatasetInfoOption = None,
    dataset: o.DatasetOption = None,
    llamafactory: o.LlamaFactoryOption = None,
    proxy: o.ProxyOption = o.DEFAULT_PROXY,
    modules: o.ModulesOption = LATE_MLP,
    probes_seed: o.ProbesSeedOption = None,
    take_out: o.TakeOutOption = DEFAULT_TAKE_OUT,
    normalise: o.NormaliseOption = DEFAULT_NORMALISATION,
    reduction: o.ReductionOption = DEFAULT_REDUCTION,
    preference_loss: o.PreferenceLossOption = "dpo",
    beta: o.BetaOption = DEFAULT_BETA,
    engine: o.EngineOption = "auto",
    batch_tokens: o.BatchTokensOption = None,
    compile: o.CompileOption = False,
    executor: x.ExecutorOption = "local",
    shard: x.ShardOption = "0/1",
    ray_actors: x.ActorsOption = None,
    ray_gpus: x.GpusOption = None,
    ray_ordered: x.OrderedOption = False,
    endpoint: x.EndpointOption = None,
    adapters: x.AdaptersOption = None,
    adapter_names: x.NamesOption = "above,below",
    endpoint_key: x.KeyOption = None,
    endpoint_requests: x.RequestsOption = 32,
    force: o.ForceOption = False,
    quiet: o.QuietOption = False,
) -> None:
    """Score every row of DATA and write the scores to `OUT/scores/*.parquet`.

    Go on with `gradshield threshold RUN` and `gradshield apply RUN`, as often as you like: they
    take seconds and need no model.

    Many machines share the work with --executor ray, or with --shard and any launcher.

    Example: gradshield score train.jsonl --out runs/train --shard $RANK/$WORLD_SIZE
    """
    config = build_config(
        data,
        split=split,
        subset=subset,
        data_revision=data_revision,
        model=model,
        adapter=adapter,
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        format=format,
        response=response,
        max_length=max_length,
        profile=profile,
        profile_option=profile_option,
        axolotl=axolotl,
        dataset_info=dataset_info,
        dataset=dataset,
        llamafactory=llamafactory,
        proxy=proxy,
        modules=modules,
        probes_seed=probes_seed,
        take_out=take_out,
        normalise=normalise,
        reduction=reduction,
        preference_loss=preference_loss,
        beta=beta,
        engine=engine,
        batch_tokens=batch_tokens,
        compile=compile,
        rule=o.DEFAULT_RULE,
        level=0.02,
        seed=0,
        on_reject="hold",
    )
    chosen = x.make_executor(
        executor,
        ray_actors=ray_actors,
        ray_gpus=ray_gpus,
        ray_ordered=ray_ordered,
        endpoint=endpoint,
        adapters=adapters,
        adapter_names=adapter_names,
        endpoint_key=endpoint_key,
        endpoint_requests=endpoint_requests,
    )
    display, share = Display(quiet=quiet), parse_shard(shard)
    score(config, RunFolder(out), display, force=force, executor=chosen, shard=share)
    following = f"gradshield threshold {out}"
    if not share.is_whole:
        following = f"gradshield merge {out}, when all shards are done"
    display.say(f"Scores are in {out}/scores. Next: {following}")
