import { throughBodies } from './bodies.ts';
import { latencyAllocator } from './allocate/latency.ts';
import { repairAllocator } from './allocate/repair.ts';
import { sensitivityAllocator } from './allocate/sensitivity.ts';
import { sqnrAllocator } from './allocate/sqnr.ts';
import { encoder } from './encode/encode.ts';
import { foldAffine } from './fold/affine.ts';
import { foldBatchNorm } from './fold/batchnorm.ts';
import { foldConstants } from './fold/constants.ts';
import { foldEinsum } from './fold/einsum.ts';
import { foldGemm } from './fold/gemm.ts';
import { foldIdentity } from './fold/identity.ts';
import { restoreBatchNorm } from './fold/restore_batchnorm.ts';
import { anyPass, type Pass } from './pass.ts';
import { agpPruner } from './prune/agp.ts';
import { baiduRnnPruner } from './prune/baidu_rnn.ts';
import { globalPruner } from './prune/global.ts';
import { levelPruner } from './prune/level.ts';
import { magnitudePruner } from './prune/magnitude.ts';
import { nmPruner } from './prune/n_m.ts';
import { sensitivityPruner } from './prune/sensitivity.ts';
import { sparseGptPruner } from './prune/sparsegpt.ts';
import { splicingPruner } from './prune/splicing.ts';
import { activationApoz } from './prune/structure/activation_apoz.ts';
import { activationMean } from './prune/structure/activation_mean.ts';
import { bernoulli } from './prune/structure/bernoulli.ts';
import { blockPruner } from './prune/structure/block_pruner.ts';
import { channelPruner } from './prune/structure/channel_pruner.ts';
import { channelRemover } from './prune/structure/channel_remover.ts';
import { filterRemover } from './prune/structure/filter_remover.ts';
import { fmReconstruction } from './prune/structure/fm_reconstruction.ts';
import { l1Ranked } from './prune/structure/l1_ranked.ts';
import { l2Ranked } from './prune/structure/l2_ranked.ts';
import { randomLevel } from './prune/structure/random_level.ts';
import { randomRanked } from './prune/structure/random_ranked.ts';
import { repr } from './prune/structure/repr.ts';
import { structureRemover } from './prune/structure/structure_remover.ts';
import { wandaPruner } from './prune/wanda.ts';
import { dynamicQuantizer } from './quantize/dynamic.ts';
import { float16Quantizer } from './quantize/float16.ts';
import { staticQuantizer } from './quantize/static.ts';
import { formatQuantizer } from './quantize/to_format.ts';
import { weightsOnlyQuantizer } from './quantize/weights_only.ts';
import { absorbBias } from './recover/absorb_bias.ts';
import { adaround } from './recover/adaround.ts';
import { awq } from './recover/awq.ts';
import { biasCorrection } from './recover/bias_correction.ts';
import { equalize } from './recover/equalize.ts';
import { featureQuantization } from './recover/feature_quantization.ts';
import { gptqRounding } from './recover/gptq.ts';
import { migrate } from './recover/migrate.ts';
import { weightScale } from './recover/weight_scale.ts';
import { reestimate } from './recover/reestimate.ts';
import { earlyExit } from './train/early_exit.ts';
import { blockReconstruction } from './train/block_reconstruction.ts';
import { finetune } from './train/finetune.ts';
import { gradientRanked } from './train/gradient_ranked.ts';
import { learningPasses } from './train/surrogate/index.ts';

/** Every pass, in the order in which `qtool passes` lists them: a new one is one import and one line here, then `npm run schema`, so that editors know it. */
const all: readonly Pass[] = [
  anyPass(foldConstants),
  anyPass(foldGemm),
  anyPass(foldEinsum),
  anyPass(foldIdentity),
  anyPass(foldAffine),
  anyPass(foldBatchNorm),
  anyPass(restoreBatchNorm),
  anyPass(levelPruner),
  anyPass(magnitudePruner),
  anyPass(sensitivityPruner),
  anyPass(agpPruner),
  anyPass(splicingPruner),
  anyPass(baiduRnnPruner),
  anyPass(nmPruner),
  anyPass(wandaPruner),
  anyPass(sparseGptPruner),
  anyPass(globalPruner),
  anyPass(channelPruner),
  anyPass(blockPruner),
  ...l1Ranked,
  ...l2Ranked,
  ...activationApoz,
  ...activationMean,
  ...randomRanked,
  ...bernoulli,
  ...gradientRanked,
  anyPass(randomLevel),
  anyPass(repr),
  ...fmReconstruction,
  filterRemover,
  channelRemover,
  structureRemover,
  anyPass(sqnrAllocator),
  anyPass(sensitivityAllocator),
  anyPass(latencyAllocator),
  anyPass(repairAllocator),
  anyPass(staticQuantizer),
  anyPass(dynamicQuantizer),
  anyPass(weightsOnlyQuantizer),
  anyPass(formatQuantizer),
  anyPass(float16Quantizer),
  ...learningPasses,
  anyPass(equalize),
  anyPass(absorbBias),
  anyPass(migrate),
  anyPass(awq),
  anyPass(biasCorrection),
  anyPass(weightScale),
  anyPass(gptqRounding),
  anyPass(adaround),
  anyPass(reestimate),
  anyPass(featureQuantization),
  anyPass(earlyExit),
  anyPass(blockReconstruction),
  anyPass(finetune),
  anyPass(encoder),
];

/** Every pass of qtool, as schedules apply them: in the bodies of If, Loop and Scan too. */
export const passes: readonly Pass[] = all.map(throughBodies);
