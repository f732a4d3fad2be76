// Exports the decoders of sound files from the copy of mediabunny beside this page.

export { ALL_FORMATS, AudioSampleSink, BlobSource, Input } from "../vendor/mediabunny.min.mjs";
