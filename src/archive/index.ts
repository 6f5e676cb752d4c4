export { readArchive, type Archive, type ArchivedTensor, type ExternalFile } from './reader.ts';
