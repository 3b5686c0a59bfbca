package supervise

import (
	"errors"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// killedCode is the exit code of what we end ourselves, as a shell shows KILL.
const killedCode = 128 + 9

// containSelf puts our own process, and with it all it will ever start, into a job
// that ends with us, whatever way we end. The jobs of the programs lie inside it;
// they alone would miss a program that is just being started.
var containSelf = sync.OnceFunc(func() {
	job, err := newJob() // never closed: the system does that when we are gone
	if err != nil {
		return
	}
	// Only a job around us that forbids nesting refuses. The programs' own jobs remain.
	if windows.AssignProcessToJobObject(job, windows.CurrentProcess()) != nil {
		_ = windows.CloseHandle(job)
	}
})

// newJob returns a job whose processes end when its last handle is closed. Nobody
// inherits the handle.
func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, err
	}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err != nil {
		_ = windows.CloseHandle(job)
		return 0, err
	}
	return job, nil
}

// accounting is JOBOBJECT_BASIC_ACCOUNTING_INFORMATION.
type accounting struct {
	userTime, kernelTime, periodUserTime, periodKernelTime    int64
	pageFaults, processes, activeProcesses, terminatedByLimit uint32
}

// alive counts the processes of a job; 0 where it cannot be asked.
func alive(job windows.Handle) int {
	var info accounting
	err := windows.QueryInformationJobObject(job, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil)
	if err != nil {
		return 0
	}
	return int(info.activeProcesses)
}

// resumeThreads wakes a process created suspended. Its thread is not always the only one
// nor the first listed: virus scanners put threads of theirs into new processes. One that
// runs already does not mind.
func resumeThreads(pid uint32) error {
	snap, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(snap) }()
	resumed, failure := false, errors.New("the new process has no thread")
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(snap, &entry); err == nil; err = windows.Thread32Next(snap, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		if err := resume(entry.ThreadID); err != nil {
			failure = err
			continue
		}
		resumed = true
	}
	if resumed {
		return nil
	}
	return failure
}

func resume(thread uint32) error {
	th, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, thread)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(th) }()
	_, err = windows.ResumeThread(th)
	return err
}
