// The decoders of sound files: mediabunny. A static Space has a file of this name in place of this one; see `runtime.js`.

export { ALL_FORMATS, AudioSampleSink, BlobSource, Input } from "mediabunny";
