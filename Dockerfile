# hf-speech serve in a small image, for a model that `hf-speech export` wrote: it runs on the CPU, without PyTorch.
#
#   docker build -t hf-speech .
#   docker run -p 8000:8000 -v ./an4-onnx:/model:ro hf-speech
#
# A language_model.ngram or .arpa in the folder is used for files.

FROM python:3.12-slim
COPY . /source
RUN pip install --no-cache-dir --constraint /source/constraints.txt \
      fastapi lazy-loader numpy onnxruntime python-multipart safetensors soundfile soxr tqdm typer uvicorn websockets \
 && pip install --no-cache-dir --no-deps /source \
 && rm -r /source \
 && useradd --create-home speech
USER speech
ENV OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["hf-speech", "serve"]
CMD ["/model", "--host", "0.0.0.0"]
