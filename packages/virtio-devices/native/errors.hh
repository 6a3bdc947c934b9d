#pragma once

#include <napi.h>

#include <cstdint>

namespace vmm {

/** What a failed system call is told as: an Error with `code`, `errno` and `syscall`. */
Napi::Error makeErrno(Napi::Env env, int error, const char* syscall);

/** Throws what a failed system call is told as. */
[[noreturn]] void throwErrno(Napi::Env env, int error, const char* syscall);

/** The same for callbacks that node-addon-api does not wrap: leaves the exception pending. */
void pendErrno(napi_env env, int error, const char* syscall) noexcept;

/**
 * An integer argument.
 *
 * Throws a TypeError if it is no number, a RangeError if it is not an integer of minimum...maximum.
 */
double toInteger(const Napi::Value& value, const char* name, double minimum, double maximum);

/** An argument of 0...2^32 - 1. */
uint32_t toUint32(const Napi::Value& value, const char* name);

/** 2^53 - 1. */
inline constexpr double MAX_SAFE_INTEGER = 9007199254740991.0;

}  // namespace vmm
