FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1
WORKDIR /app
RUN useradd --system --user-group --home-dir /app --no-create-home --shell /usr/sbin/nologin qader

COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.txt

COPY manage.py ./
COPY accounts/ accounts/
COPY chat/ chat/
COPY notices/ notices/
COPY qader/ qader/
COPY locale/ locale/
# The key is for this command alone; the process gets its own from the environment.
RUN SECRET_KEY=of-collectstatic-alone-0123456789-0123456789-0123456789 python manage.py collectstatic --noinput && python -m compileall -q accounts chat notices qader

USER qader
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "qader.serve", "--host", "0.0.0.0", "--port", "8000"]
