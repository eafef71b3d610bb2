/* The functions of libgcc_s that Rust calls, without contents. zig has no libgcc_s; what is linked with this file as
   libgcc_s.so.1 uses the system's at run time. gcc_s.map has their versions. */
#define UNWIND(name) void _Unwind_##name(void) {}
UNWIND(Backtrace)
UNWIND(DeleteException)
UNWIND(FindEnclosingFunction)
UNWIND(GetCFA)
UNWIND(GetDataRelBase)
UNWIND(GetIP)
UNWIND(GetIPInfo)
UNWIND(GetLanguageSpecificData)
UNWIND(GetRegionStart)
UNWIND(GetTextRelBase)
UNWIND(RaiseException)
UNWIND(Resume)
UNWIND(SetGR)
UNWIND(SetIP)
