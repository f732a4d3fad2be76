// Exports the decoders of sound files from mediabunny. In a static Space, another file replaces this one; see `runtime.js`.

export { ALL_FORMATS, AudioSampleSink, BlobSource, Input } from "mediabunny";
