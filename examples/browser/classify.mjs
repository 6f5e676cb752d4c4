// Loads a compressed model, an .onnx file or an archive of `qtool pack`, and says which class an image is of.
import * as ort from './ort/ort.wasm.bundle.min.mjs';
import { readArchive } from './reader.js';

// What the model was trained with: side of its images in pixels, mean and standard deviation of RGB / 255, and its classes in their order.
// The data config for qtool has the same numbers (README.md).
const side = 32;
const mean = [0.4914, 0.4822, 0.4465];
const std = [0.247, 0.2435, 0.2616];
const classes = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];

const at = (id) => document.getElementById(id);
const milliseconds = (since) => `${(performance.now() - since).toFixed(1)} ms`;

/** A session of the model that the server gives. */
async function load() {
  const bytes = new Uint8Array(await (await fetch('model')).arrayBuffer());
  const start = performance.now();
  const archive = String.fromCharCode(...bytes.subarray(0, 3)) === 'QPK' ? readArchive(bytes) : undefined;
  // Threads share memory, which browsers allow only to pages that serve.mjs's headers isolate.
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const session = await ort.InferenceSession.create(archive ? archive.model() : bytes, {
    executionProviders: ['wasm'],
    externalData: archive?.external() ?? [],
  });
  const threads = ort.env.wasm.numThreads === 1 ? 'one thread' : `${ort.env.wasm.numThreads} threads`;
  at('model').textContent =
    `${bytes.length.toLocaleString('en')} bytes ${archive ? 'of archive ' : ''}loaded in ${milliseconds(start)}, ${threads}.`;
  return session;
}

/** An image as the model takes it, [1, 3, side, side]: its middle square, scaled to the model's side; shown in the canvas. */
async function pixelsOf(file) {
  // Pixels as the file has them, as qtool reads them too: a colour profile is not applied.
  const image = await createImageBitmap(file, { colorSpaceConversion: 'none' });
  const context = at('seen').getContext('2d', { willReadFrequently: true });
  const edge = Math.min(image.width, image.height);
  context.imageSmoothingQuality = 'high';
  context.fillStyle = 'white';
  context.fillRect(0, 0, side, side);
  context.drawImage(image, (image.width - edge) / 2, (image.height - edge) / 2, edge, edge, 0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side); // RGBA, pixel after pixel
  const area = side * side;
  return Float32Array.from({ length: 3 * area }, (_, i) => {
    const channel = Math.floor(i / area);
    return (data[4 * (i % area) + channel] / 255 - mean[channel]) / std[channel];
  });
}

/** Probabilities of scores: softmax. */
function softmax(scores) {
  const largest = Math.max(...scores);
  const powers = Array.from(scores, (score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

async function classify(session, file) {
  const pixels = await pixelsOf(file);
  const start = performance.now();
  const answer = await session.run({ [session.inputNames[0]]: new ort.Tensor('float32', pixels, [1, 3, side, side]) });
  at('time').textContent = `Run in ${milliseconds(start)}.`;
  const scores = answer[session.outputNames[0]].data;
  if (scores.length !== classes.length)
    throw new Error(`the model has ${scores.length} classes, and this page knows ${classes.length}`);
  const rows = softmax(scores)
    .map((share, i) => ({ name: classes[i], share }))
    .sort((a, b) => b.share - a.share);
  at('classes').replaceChildren(
    ...rows.map(({ name, share }) => {
      const row = document.createElement('tr');
      const bar = Object.assign(document.createElement('meter'), { value: share, ariaLabel: name });
      for (const content of [name, `${(100 * share).toFixed(2)} %`, bar]) row.insertCell().append(content);
      return row;
    }),
  );
}

const told = (error) => (at('model').textContent = `It did not work: ${error.message}`);
try {
  const session = await load();
  at('image').addEventListener('change', ({ target }) => target.files[0] && classify(session, target.files[0]).catch(told)); // prettier-ignore
  at('image').disabled = false;
} catch (error) {
  told(error);
}
