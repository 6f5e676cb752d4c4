import { letterbox } from '../../src/data/letterbox.ts';
import { parseDataConfig } from '../../src/data/config.ts';
import { openData } from '../../src/data/open.ts';
import { recipesToTry, recipeTransforms } from '../../src/data/recipe_steps.ts';
import { recipes } from '../../src/data/recipes.ts';
import { compileTransforms } from '../../src/data/transforms.ts';
import { failure, floatInput, numbers, png, samplesOf, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
const values = (name: string, channels = 3): number[] => {
  const input = floatInput('x', 'N', channels, 1, 1);
  const pixel = { width: 1, height: 1, channels: 3, data: Uint8Array.of(10, 100, 200) };
  return Array.from(compileTransforms(recipeTransforms(name, [input]), input)(pixel, 'p').data as Float32Array);
};

describe('recipes', () => {
  // Written out from the frameworks' own code; to float32.
  it.each<[string, number[]]>([
    ['0..1', [10 / 255, 100 / 255, 200 / 255]],
    ['0..255', [10, 100, 200]],
    ['keras-tf', [10 / 127.5 - 1, 100 / 127.5 - 1, 200 / 127.5 - 1]],
    ['torchvision', [(10 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (200 / 255 - 0.406) / 0.225]],
    ['caffe', [200 - 103.939, 100 - 116.779, 10 - 123.68]],
    ['clip', [(10 / 255 - 0.48145466) / 0.26862954, (100 / 255 - 0.4578275) / 0.26130258, (200 / 255 - 0.40821073) / 0.27577711]], // prettier-ignore
    ['cifar', [(10 / 255 - 0.4914) / 0.247, (100 / 255 - 0.4822) / 0.2435, (200 / 255 - 0.4465) / 0.2616]],
    ['yolo', [10 / 255, 100 / 255, 200 / 255]],
  ])('%s gives the numbers of its framework', (name, wanted) =>
    values(name).forEach((value, i) => expect(value).toBeCloseTo(wanted[i]!, 4)),
  );

  it('mnist takes the luma', () => {
    // 0.299 · 10 + 0.587 · 100 + 0.114 · 200 = 84.5, which PIL makes 84.
    expect(values('mnist', 1)[0]).toBeCloseTo((84 / 255 - 0.1307) / 0.3081, 4);
  });

  it('take size and layout from the input', () => {
    const keras = floatInput('x', 1, 224, 224, 3);
    expect(recipeTransforms('torchvision', [keras])).toMatchObject({ resize: 256, center_crop: [224, 224] });
    expect(recipeTransforms('torchvision', [floatInput('x', 'N', 3, 32, 32)])).toMatchObject({ resize: 32 });
    expect(recipeTransforms('torchvision', [floatInput('x', 'N', 3, 'H', 'W')])).toMatchObject({ resize: 256 });
    expect(recipeTransforms('0..1', [floatInput('x', 'N', 3, 'H', 'W')])).toEqual({ scale: '1/255' });
    expect(recipeTransforms('0..1', [floatInput('x', 'N', 3, 240, 320)])).toMatchObject({ resize: [240, 320] });
    expect(recipeTransforms('yolo', [floatInput('x', 'N', 3, 240, 320)])).toMatchObject({ letterbox: [240, 320] });
    const image = { width: 300, height: 280, channels: 3, data: new Uint8Array(300 * 280 * 3) };
    expect(compileTransforms(recipeTransforms('keras-tf', [keras]), keras)(image, 'i').dims).toEqual([1, 224, 224, 3]);
  });

  it('are refused where the channels are others, or the name is none', async () => {
    const grey = [floatInput('x', 'N', 1, 28, 28)];
    expect(await failure(() => recipeTransforms('caffe', grey))).toMatch(/caffe is for images of 3 channels, the model input "x" has 1 \(That fit: 0\.\.1, 0\.\.255, keras-tf, mnist\.\)/); // prettier-ignore
    expect(await failure(() => recipeTransforms('cafe', grey))).toMatch(/no preprocessing "cafe" \(did you mean "caffe"\?\)/); // prettier-ignore
  });

  it('are tried where they can be right', () => {
    const tried = (...dims: number[]): string[] => recipesToTry([floatInput('x', 1, ...dims)]).map(({ name }) => name);
    expect(tried(3, 32, 32)).toEqual(['0..1', '0..255', 'keras-tf', 'torchvision', 'caffe', 'cifar']);
    expect(tried(224, 224, 3)).toEqual(['0..1', '0..255', 'keras-tf', 'torchvision', 'caffe', 'clip']);
    expect(tried(1, 28, 28)).toEqual(['0..1', '0..255', 'keras-tf', 'mnist']);
    const bytes = { ...floatInput('x', 1, 3, 32, 32), type: 'uint8' as const };
    expect(recipesToTry([bytes]).map(({ name }) => name)).toEqual(['0..255']);
  });

  it('all say where their numbers are from', () => {
    for (const { source } of recipes) expect(source).toMatch(/^https:\/\//);
  });
});

describe('letterbox', () => {
  const image = { width: 4, height: 2, channels: 1, data: new Uint8Array(8).fill(9) };
  const rows = (height: number): number[] => {
    const { data, width } = letterbox(image, [height, 4], 'bilinear')!;
    return Array.from({ length: data.length / width }, (_, y) => data[y * width]!);
  };

  it('puts the whole image in the middle, an odd row of ground below', () => {
    expect(rows(4)).toEqual([114, 9, 9, 114]);
    expect(rows(5)).toEqual([114, 9, 9, 114, 114]);
    expect(rows(2)).toEqual([9, 9]);
  });

  it('grows and shrinks without changing the shape', () => {
    const { width, height, data } = letterbox(image, [8, 8], 'half_pixel')!;
    expect([width, height]).toEqual([8, 8]);
    expect(Array.from({ length: 8 }, (_, y) => data[y * 8])).toEqual([114, 114, 9, 9, 9, 9, 114, 114]);
  });
});

describe('preprocess', () => {
  const input = [floatInput('x', 'N', 3, 2, 2)];
  beforeAll(async () => {
    for (let i = 0; i < 4; i++) folder.write(`loose/${i}.png`, await png(4, 4, [51, 102, 204]));
    for (let i = 0; i < 4; i++) folder.write(`set/ant/${i}.png`, await png(4, 4, [51, 102, 204]));
  });
  const first = async (source: string, options: Parameters<typeof openData>[2] = {}): Promise<number[]> => {
    const config = source.includes(':') ? parseDataConfig(source, `${folder.path}/d.yaml`) : source;
    const { validation } = await openData(config, input, { part: 'validation', ...options });
    return numbers((await samplesOf(validation, 1))[0], 'x').map((value) => Math.round(value * 1000) / 1000);
  };
  const images = 'data: { kind: image-folder, path: loose }\n';
  const colours = (r: number, g: number, b: number): number[] => [r, g, b].flatMap((value) => [value, value, value, value]); // prettier-ignore

  it('names a recipe, which transforms override', async () => {
    expect(await first(`${images}preprocess: 0..1`)).toEqual(colours(0.2, 0.4, 0.8));
    expect(await first(`${images}preprocess: 0..1\ntransforms: { mean: 0.1 }`)).toEqual(colours(0.1, 0.3, 0.7));
  });

  it('on the command line replaces what the config says, and single steps go before both', async () => {
    const config = `${images}preprocess: caffe\ntransforms: { resize: 2, mean: 0.1 }`;
    expect(await first(config, { preprocess: '0..1' })).toEqual(colours(0.2, 0.4, 0.8));
    expect(await first(config, { preprocess: '0..1', transforms: { std: 2 } })).toEqual(colours(0.1, 0.2, 0.4));
    expect(await first(`${folder.path}/loose`, { transforms: { scale: '1/51', mean: [1, 2, 3] } })).toEqual(colours(0, 0, 1)); // prettier-ignore
  });

  it('is not guessed', async () => {
    const unlabelled = /loose: nothing says how these images become the model's input, and without labels it cannot be found by trial \(Say it with --preprocess <name>: 0\.\.1, /; // prettier-ignore
    expect(await failure(() => first(`${folder.path}/loose`))).toMatch(
      new RegExp(unlabelled.source.replace(': ', ' ')),
    );
    expect(await failure(() => first(images))).toMatch(/nothing says how these images become/);
    expect(await failure(() => first(`${folder.path}/set`))).toMatch(/nothing says how these images become the model's input \(Say it with --preprocess/); // prettier-ignore
    // Only size and layout are no description either.
    expect(await failure(() => first(`${folder.path}/loose`, { transforms: { resize: 2 } }))).toMatch(/nothing says how/); // prettier-ignore
  });

  it('cannot be said of tensors', async () => {
    expect(await failure(() => first('random', { preprocess: '0..1' }))).toMatch(/data of kind random are tensors already/); // prettier-ignore
  });

  it('is checked with the nearest name', async () => {
    expect(await failure(() => first(`${images}preprocess: torchvison`))).toMatch(/d\.yaml:2:13.*torchvision/);
  });
});
