import { toGrey } from '../../src/data/pixels.ts';
import { resizeHalfPixel, resizePillow, type PillowMode } from '../../src/data/resize.ts';
import { pattern } from './support.ts';

// 5 wide, 4 high. Expected values: Pillow 13.0.0, Image.fromarray(pattern).resize((w, h), mode); the algorithm was compared with
// it on 2,255 further sizes without a difference.
const image = { width: 5, height: 4, channels: 3, data: pattern(60) };
const cases: readonly (readonly [PillowMode, number, number, readonly number[]])[] = [
  ['bilinear', 3, 2, [101, 99, 127, 145, 102, 131, 131, 114, 142, 146, 114, 117, 108, 150, 126, 133, 184, 144]],
  ['bicubic', 3, 2, [100, 98, 128, 150, 98, 130, 128, 109, 143, 148, 112, 118, 106, 159, 121, 132, 191, 144]],
  ['lanczos', 3, 2, [100, 98, 125, 152, 98, 127, 123, 107, 144, 150, 111, 122, 106, 165, 116, 128, 192, 145]],
  ['box', 3, 2, [114, 95, 137, 178, 91, 137, 121, 101, 143, 145, 128, 114, 49, 102, 150, 150, 202, 129]],
  ['nearest', 3, 2, [104, 156, 197, 119, 161, 204, 132, 187, 231, 247, 39, 88, 40, 101, 151, 109, 160, 212]],
  // prettier-ignore
  ['bilinear', 7, 6, [0, 37, 74, 64, 108, 145, 148, 121, 162, 237, 20, 70, 146, 111, 154, 165, 94, 134, 239, 23, 63, 52, 97, 136, 123, 95, 137, 176, 92, 138, 178, 91, 137, 91, 95, 138, 112, 100, 142, 186, 105, 147, 90, 141, 184, 168, 92, 115, 192, 82, 101, 109, 151, 195, 55, 100, 113, 74, 123, 143, 125, 179, 226, 33, 79, 133, 115, 136, 64, 146, 160, 55, 67, 113, 158, 136, 189, 83, 135, 188, 117, 99, 148, 204, 133, 52, 104, 146, 138, 115, 126, 175, 131, 49, 102, 150, 156, 210, 80, 157, 209, 118, 101, 150, 206, 247, 39, 88, 190, 129, 178, 117, 170, 219, 40, 101, 151, 155, 209, 85, 162, 213, 124, 109, 160, 212]],
  // prettier-ignore
  ['bicubic', 7, 6, [0, 21, 58, 45, 119, 155, 150, 137, 178, 245, 11, 61, 142, 126, 169, 165, 101, 141, 254, 4, 44, 50, 99, 136, 121, 91, 143, 191, 86, 144, 185, 90, 136, 70, 87, 141, 101, 94, 144, 200, 104, 144, 88, 159, 203, 184, 80, 108, 217, 63, 87, 105, 162, 205, 28, 83, 100, 58, 114, 139, 127, 198, 246, 7, 71, 141, 114, 144, 44, 157, 173, 26, 64, 112, 157, 148, 204, 68, 144, 200, 110, 90, 141, 213, 134, 35, 97, 152, 148, 113, 122, 193, 135, 44, 99, 147, 175, 230, 62, 172, 225, 111, 92, 141, 213, 255, 28, 76, 205, 133, 192, 108, 180, 251, 39, 101, 151, 166, 219, 67, 172, 223, 121, 105, 156, 222]],
  // prettier-ignore
  ['lanczos', 7, 6, [0, 6, 45, 28, 128, 158, 162, 144, 179, 246, 5, 56, 147, 132, 169, 165, 112, 146, 255, 0, 31, 54, 101, 134, 116, 88, 150, 208, 81, 154, 190, 89, 136, 57, 80, 143, 97, 89, 147, 211, 104, 141, 78, 172, 219, 187, 75, 96, 235, 60, 75, 99, 169, 211, 10, 79, 95, 56, 109, 133, 124, 211, 255, 0, 75, 156, 117, 145, 30, 168, 171, 12, 62, 117, 162, 139, 201, 65, 145, 202, 104, 82, 143, 225, 130, 20, 89, 155, 156, 109, 107, 204, 147, 44, 93, 142, 185, 237, 52, 186, 237, 109, 86, 127, 214, 255, 25, 70, 221, 133, 195, 90, 179, 255, 40, 102, 153, 161, 213, 51, 176, 225, 125, 102, 153, 229]],
];

describe('resizePillow', () => {
  it.each(cases)('%s to %ix%i is what Pillow gives', (mode, width, height, expected) => {
    expect([...resizePillow(image, width, height, mode).data]).toEqual(expected);
  });

  it('takes the columns first where the height loses far more than the width, as Pillow 13 does', () => {
    // PIL.Image.resize((5, 3), BICUBIC) of a grey image 6 wide, 9 high.
    const tall = { width: 6, height: 9, channels: 1, data: pattern(54) };
    expect([...resizePillow(tall, 5, 3, 'bicubic').data]).toEqual([154, 31, 87, 139, 196, 84, 56, 119, 182, 154, 89, 161, 187, 144, 85]); // prettier-ignore
  });

  it('leaves an image of that size alone', () => {
    expect(resizePillow(image, 5, 4, 'lanczos')).toBe(image);
  });
});

describe('resizeHalfPixel', () => {
  it('is what torch gives without antialiasing', () => {
    // torch.nn.functional.interpolate(x, size=(3, 4), mode="bilinear", align_corners=False), torch 2.
    const expected = [31.791667938232422, 67, 105.02083587646484, 164.625, 102.66666412353516, 146.29165649414062, 138.47915649414062, 98.08332824707031, 141.70834350585938, 204.9166717529297, 60.395835876464844, 101.04166412353516, 79, 110.875, 143.5, 158.9375, 122.625, 90.25, 94.875, 142.9375, 107.75, 110.375, 161.75, 196.4375, 201.7292022705078, 62.66666030883789, 107.29167175292969, 110.33332824707031, 162.47915649414062, 184.62503051757812, 141.1666717529297, 195.7083282470703, 91.39583587646484, 117.91667175292969, 168.625, 190.58334350585938]; // prettier-ignore
    const { data } = resizeHalfPixel(image, 4, 3);
    expect(data).toHaveLength(expected.length);
    // torch adds up in float32: half a unit in the last place of 256 is 1.5e-5, over a few additions.
    for (const [i, value] of expected.entries()) expect(Math.abs(data[i]! - value)).toBeLessThan(6e-5);
  });
});

describe('toGrey', () => {
  it('is the luma of PIL', () => {
    // PIL.Image.convert("L").
    expect([...toGrey(image).data]).toEqual([30, 151, 91, 141, 92, 145, 94, 153, 37, 176, 57, 173, 94, 213, 132, 107, 188, 88, 215, 151]); // prettier-ignore
  });
});
