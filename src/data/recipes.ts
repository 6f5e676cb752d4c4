import type { Transforms } from './transforms.ts';

/** A known way from 8-bit images to a model's input. */
export interface Recipe {
  readonly name: string;
  /** What it does to the values, for tables and help. */
  readonly what: string;
  /** Where the numbers are from. */
  readonly source: string;
  /** How many channels the input may have. */
  readonly channels: readonly number[];
  /**
   * How an image comes to the input's size. `shorter`: its shorter side, then a crop of the middle. `margin`: the same with an
   * eighth more than the input, which the crop cuts off. `letterbox`: whole, on a grey ground.
   */
  readonly fit: 'shorter' | 'margin' | 'letterbox';
  /** The side of an input whose size is free; undefined: images stay as large as they are. */
  readonly side?: number;
  /** The sides of inputs that it is tried on where nobody names it; without it on none. */
  readonly tried?: readonly [number, number];
  /** All else. */
  readonly steps: Transforms;
}

const any = [1, Infinity] as const;

/** The plainest first: of recipes that feed the same numbers the first one is named. */
export const recipes = [
  {
    name: '0..1',
    what: 'RGB / 255',
    source: 'https://pytorch.org/vision/stable/generated/torchvision.transforms.ToTensor.html',
    channels: [1, 3],
    fit: 'shorter',
    tried: any,
    steps: { scale: '1/255' },
  },
  {
    name: '0..255',
    what: 'RGB as it is',
    source: 'https://github.com/keras-team/keras/blob/master/keras/src/applications/efficientnet.py',
    channels: [1, 3],
    fit: 'shorter',
    tried: any,
    steps: { scale: 1 },
  },
  {
    // The crop is that of the networks' own evaluation: research/slim/preprocessing/inception_preprocessing.py, central_fraction 0.875.
    name: 'keras-tf',
    what: 'RGB / 127.5 - 1',
    source: 'https://github.com/keras-team/keras/blob/master/keras/src/applications/imagenet_utils.py',
    channels: [1, 3],
    fit: 'margin',
    side: 224,
    tried: any,
    steps: { scale: '1/127.5', offset: -1, crop_rounding: 'floor' },
  },
  {
    name: 'torchvision',
    what: "RGB / 255, ImageNet's mean, std",
    source: 'https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet50.html',
    channels: [3],
    fit: 'margin',
    side: 224,
    tried: any,
    steps: { scale: '1/255', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  },
  {
    name: 'caffe',
    what: "BGR, ImageNet's mean subtracted",
    source: 'https://github.com/keras-team/keras/blob/master/keras/src/applications/imagenet_utils.py',
    channels: [3],
    fit: 'margin',
    side: 224,
    tried: any,
    steps: { color: 'BGR', scale: 1, mean: [103.939, 116.779, 123.68] },
  },
  {
    name: 'clip',
    what: "RGB / 255, CLIP's mean, std, bicubic",
    source: 'https://github.com/openai/CLIP/blob/main/clip/clip.py',
    channels: [3],
    fit: 'shorter',
    side: 224,
    tried: [128, Infinity],
    steps: {
      resize_mode: 'bicubic',
      scale: '1/255',
      mean: [0.48145466, 0.4578275, 0.40821073],
      std: [0.26862954, 0.26130258, 0.27577711],
    },
  },
  {
    name: 'cifar',
    what: "RGB / 255, CIFAR-10's mean, std",
    source: 'https://github.com/kuangliu/pytorch-cifar/issues/19',
    channels: [3],
    fit: 'shorter',
    side: 32,
    tried: [1, 64],
    steps: { scale: '1/255', mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] },
  },
  {
    name: 'mnist',
    what: "grey / 255, MNIST's mean, std",
    source: 'https://github.com/pytorch/examples/blob/main/mnist/main.py',
    channels: [1],
    fit: 'shorter',
    side: 28,
    tried: [1, 64],
    steps: { scale: '1/255', mean: 0.1307, std: 0.3081 },
  },
  {
    name: 'yolo',
    what: 'RGB / 255, whole on a grey ground',
    source: 'https://github.com/ultralytics/ultralytics/blob/main/ultralytics/data/augment.py',
    channels: [3],
    fit: 'letterbox',
    side: 640,
    steps: { resize_mode: 'half_pixel', scale: '1/255' },
  },
] as const satisfies readonly Recipe[];

export const recipeNames = recipes.map(({ name }) => name);
