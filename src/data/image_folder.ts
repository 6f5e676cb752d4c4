import { join } from 'node:path';
import { isImage, imageTypes } from './image.ts';
import { onlyInput, unknownClass } from './check.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError } from './errors.ts';
import { isDataFile } from './guess.ts';
import { imageSource, type ImageEntry } from './image_source.ts';
import type { IndexedSource, Opening } from './source.ts';
import { byCodePoint, openTree } from './tree.ts';

/**
 * Images in class sub-folders: the label is the place of the sub-folder in alphabetical order (as torchvision's ImageFolder), or
 * in the list `classes`. Images that lie in the folder itself have no label.
 */
export function openImageFolder(config: SourceConfigOf<'image-folder'>, opening: Opening): IndexedSource {
  const path = opening.find(config.path, 'path');
  const tree = openTree(path, true);
  const files = tree.files();
  const images = files.filter(isImage);
  if (images.length === 0) throw dataError(`holds no images (${imageTypes.join(', ')})`, path, insteadOf(files, path));
  const notes: string[] = [];
  const others = files.length - images.length;
  if (others > 0) notes.push(`${others} files of ${config.path} are no images and were left out`);

  const loose = images.filter((file) => !file.includes('/'));
  const labelled = loose.length === 0;
  if (!labelled && loose.length < images.length)
    throw dataError(`"${loose[0]}" lies beside class folders: does it have a class?`, path, 'Move it into a class folder, or all images out of them.'); // prettier-ignore
  const classOf = (file: string): string => file.slice(0, file.indexOf('/'));
  const found = labelled ? [...new Set(images.map(classOf))].sort(byCodePoint) : [];
  const classes = labelled ? (config.classes ?? found) : [];
  const unknown = found.find((name) => !classes.includes(name));
  if (unknown !== undefined) throw unknownClass('folder', unknown, classes, opening.at('classes'));
  if (opening.classes !== undefined && classes.length > opening.classes)
    throw dataError(`has ${classes.length} class folders, the model tells ${opening.classes} classes apart`, path);
  const label = new Map(classes.map((name, i) => [name, i]));
  const entries = images.map((file): ImageEntry => (labelled ? { file, label: label.get(classOf(file))! } : { file }));
  const input = onlyInput(opening.inputs, config.input, opening.at('input'));
  return imageSource({ kind: 'image-folder', source: config.path, labelled, notes }, tree, entries, input, opening);
}

/** What to give instead of a folder or archive without images. */
function insteadOf(files: readonly string[], path: string): string {
  if (files.length === 0) return 'Give a folder with images, or with one folder of images a class.';
  const held = `It holds ${files.length === 1 ? 'one other file' : `${files.length} other files`}`;
  const data = files.find(isDataFile);
  return data === undefined ? `${held}.` : `${held}: give the file itself, ${join(path, data)}.`;
}
