// The decoders of sound files, from the file beside this page.

export { ALL_FORMATS, AudioSampleSink, BlobSource, Input } from "../vendor/mediabunny.min.mjs";
