import { checkDisk, parseDisk } from './disk.ts';

function refused(message: RegExp): Error {
  return expect.objectContaining({
    code: 'INVALID_CONFIG',
    message: expect.stringMatching(message) as string,
  }) as Error;
}

describe('parseDisk', () => {
  it('takes a path and options behind it', () => {
    expect(parseDisk('/a')).toMatchObject({ path: '/a', readOnly: false });
    expect(parseDisk('/a,ro,serial=x 1,queues=4,bandwidth=10M,iops=500')).toMatchObject({
      ...{ path: '/a', readOnly: true, serial: 'x 1', queues: 4 },
      ...{ bandwidth: 10 * 1024 * 1024, iops: 500 },
    });
  });

  it('takes a comma in a path when it is written twice', () => {
    expect(parseDisk('/a,,b,ro')).toMatchObject({ path: '/a,b', readOnly: true });
    expect(parseDisk('/a,,,ro')).toMatchObject({ path: '/a,', readOnly: true });
  });

  it.each([
    ['', /names no file/],
    [',ro', /names no file/],
    ['/a,rw', /"rw" is unknown; it knows ro, serial=/],
    ['/a,ro=1', /"ro" takes no value/],
    ['/a,queues=0', /queues=0 is out of range, 1 to 16/],
    ['/a,queues=1.5', /queues=1.5 is out of range/],
    ['/a,queues=1,queues=2', /"queues" is given 2 times/],
    ['/a,serial', /"serial" needs a value/],
    ['/a,serial=123456789012345678901', /1 to 20 printable ASCII/],
    ['/a,serial=\u00e9', /1 to 20 printable ASCII/],
    ['/a,bandwidth=fast', /bandwidth=fast is no number of bytes/],
    ['/a,iops=0', /iops=0 is out of range/],
  ])('refuses "%s"', (text, message) => {
    expect(() => parseDisk(text)).toThrow(refused(message));
  });
});

describe('checkDisk', () => {
  it.each([
    [{ path: '' }, /names no file/],
    [{ path: '/a', queues: 17 }, /disk \/a: queues 17/],
    [{ path: '/a', bandwidth: 0.5 }, /disk \/a: bandwidth 0.5/],
  ])('refuses %j', (config, message) => {
    expect(() => checkDisk(config, 0)).toThrow(refused(message));
  });
});
