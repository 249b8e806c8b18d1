"""`gradshield filter`: the main job in one go."""

from __future__ import annotations

from gradshield.cli import executor_options as x
from gradshield.cli import options as o
from gradshield.cli.closing import show_closing
from gradshield.cli.display import Display
from gradshield.cli.finetune import training_settings
from gradshield.cli.run_config import build_config, search_settings
from gradshield.config import DEFAULT_BETA
from gradshield.models.layers import LATE_MLP
from gradshield.probes.calibration import DEFAULT_NORMALISATION, DEFAULT_TAKE_OUT
from gradshield.run.filter import filter_data
from gradshield.run.folder import RunFolder
from gradshield.scoring.engines.base import DEFAULT_REDUCTION


def filter_command(
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
    ray_actors: x.ActorsOption = None,
    ray_gpus: x.GpusOption = None,
    ray_ordered: x.OrderedOption = False,
    endpoint: x.EndpointOption = None,
    adapters: x.AdaptersOption = None,
    adapter_names: x.NamesOption = "above,below",
    endpoint_key: x.KeyOption = None,
    endpoint_requests: x.RequestsOption = 32,
    threshold: o.RuleOption = o.DEFAULT_RULE,
    level: o.LevelOption = 0.02,
    seed: o.SeedOption = 0,
    on_reject: o.OnRejectOption = "hold",
    action: o.ActionOption = "drop",
    shards: o.ShardsOption = None,
    search: o.SearchOption = False,
    target_asr: o.TargetOption = 0.06,
    utility_floor: o.FloorOption = 0.95,
    tolerance: o.ToleranceOption = 0.03,
    max_finetunes: o.FinetunesOption = 8,
    validation_prompts: o.ValidationOption = None,
    training: o.TrainingOption = None,
    utility: o.UtilityOption = "held_out",
    utility_data: o.UtilityDataOption = None,
    force: o.ForceOption = False,
    show_text: o.ShowTextOption = False,
    quiet: o.QuietOption = False,
    json: o.JsonOption = False,
) -> None:
    """Score every row of DATA, choose a threshold, and write the kept and the removed rows.

    The run folder then holds `kept.*`, `removed.*` and `rejected.*` in the format of DATA (folders
    `kept/` and so on, if DATA is several files), with every row unchanged; report.html shows why,
    report.md, report.json and report.sarif too, and decision.json and `scores/*.parquet` hold the
    figures. An interrupted run goes on with the same command. DATA itself is never touched.

    With --action annotate or downweight a file `annotated.*` holds all rows beside these, with
    their scores, or weights for the loss, as new columns; with --action mask, `masked.parquet`
    holds them as tokens, and the spans that harm carry no loss.

    With --search the threshold is not guessed from the scores alone but measured: the model is
    finetuned on what is kept, and the largest kept set whose model is safe is the answer.

    Example: gradshield filter train.jsonl --model ./my-chat-model --out runs/train
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
        rule=threshold,
        level=level,
        seed=seed,
        on_reject=on_reject,
        action=action,
        shards=shards,
        search=search_settings(
            search,
            target_asr=target_asr,
            utility_floor=utility_floor,
            tolerance=tolerance,
            max_finetunes=max_finetunes,
            validation_file=validation_prompts,
            training=None if training is None else training_settings(training, full=False),
            utility=utility,
            utility_data=utility_data,
        ),
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
    folder = RunFolder(out)
    filter_data(config, folder, Display(quiet=quiet or json), force=force, executor=chosen)
    show_closing(folder, as_json=json, show_text=show_text)
